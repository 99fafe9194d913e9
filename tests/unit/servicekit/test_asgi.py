"""What surrounds an app when things go wrong on the way."""

import pytest

from servicekit.asgi import RequestMiddleware
from servicekit.identity import buffered_context

pytestmark = pytest.mark.anyio

START = {"type": "http.response.start", "status": 200, "headers": []}
PART = {"type": "http.response.body", "body": b"half", "more_body": True}


async def serve(app, *messages, method="POST"):
    """What the app sends when it gets these messages."""
    scope = {"type": "http", "method": method, "path": "/", "headers": []}
    incoming, sent = list(messages), []

    async def receive():
        return incoming.pop(0)

    async def send(message):
        sent.append(message)

    await RequestMiddleware(app, buffered_context, 10)(scope, receive, send)
    return sent


async def test_an_answer_that_has_begun_does_not_become_a_problem():
    async def breaks(_scope, _receive, send):
        await send({**START, "headers": []})
        await send(PART)
        raise RuntimeError

    sent = await serve(breaks, method="GET")
    assert [message["type"] for message in sent] == [START["type"], PART["type"]]
    assert sent[1] == PART


async def test_a_client_that_leaves_while_it_sends_is_not_waited_for():
    received = []

    async def app(_scope, receive, _send):
        received.append(await receive())

    await serve(
        app,
        {"type": "http.request", "body": b"", "more_body": True},
        {"type": "http.disconnect"},
    )
    assert received == [{"type": "http.request", "body": b"", "more_body": False}]


async def test_the_body_is_handed_on_whole_and_then_what_follows():
    received = []

    async def app(_scope, receive, _send):
        received.extend([await receive(), await receive()])

    with_type = [
        {"type": "http.request", "body": b"12345", "more_body": True},
        {"type": "http.request", "body": b"67890", "more_body": False},
        {"type": "http.disconnect"},
    ]
    scope = {
        "type": "http",
        "method": "PATCH",
        "path": "/",
        "headers": [(b"content-type", b"application/merge-patch+json; charset=utf-8")],
    }

    async def receive():
        return with_type.pop(0)

    async def send(_message):
        pytest.fail("nothing is answered")

    await RequestMiddleware(app, buffered_context, 10)(scope, receive, send)
    assert received == [
        {"type": "http.request", "body": b"1234567890", "more_body": False},
        {"type": "http.disconnect"},
    ]
