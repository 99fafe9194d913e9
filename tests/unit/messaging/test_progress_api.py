"""Tickets and progress over HTTP, as API Gateway brings them."""

import json
from typing import Any

import httpx
import pytest

from contracts.messaging.progress import MAX_BATCH, MAX_DATA_BYTES, MAX_TOPICS
from tests.fakes.messaging_realtime import URL, Realtime

pytestmark = pytest.mark.anyio

CONTEXT = {
    "requestId": "gateway-request-1",
    "identity": {"userArn": "arn:aws:sts::000000000000:assumed-role/caller/session-1"},
}


@pytest.fixture
def live() -> Realtime:
    return Realtime()


async def call(
    live: Realtime, path: str, body: Any, *, signed: bool = True, **headers: str
) -> httpx.Response:
    app = live.app()

    async def gateway(scope: Any, receive: Any, send: Any) -> None:
        if signed:
            scope["aws.event"] = {"requestContext": CONTEXT}
        await app(scope, receive, send)

    transport = httpx.ASGITransport(gateway, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **headers}
        return await client.post(f"/api/v1{path}", content=content, headers=sent)


async def test_a_ticket_is_issued_and_opens_a_connection(live):
    answer = await call(live, "/tickets", {"topics": ["job:1", "job:1", "user:3"], "user_id": 3})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    ticket = answer.json()
    assert (ticket["url"], ticket["topics"]) == (URL, ["job:1", "user:3"])
    query = {"ticket": ticket["ticket"]}
    assert await live.event("CONNECT", "a", queryStringParameters=query) == 200
    assert live.outbox.events[0]["metadata"]["caller"] == "caller"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"topics": []},
        {"topics": "job:1"},
        {"topics": ["session:1"]},
        {"topics": ["job:"]},
        {"topics": ["job:1\n"]},
        {"topics": ["job:" + "x" * 65]},
        {"topics": ["job:a#b"]},
        {"topics": [f"job:{n}" for n in range(MAX_TOPICS + 1)]},
        {"topics": ["job:1"], "user_id": 0},
        {"topics": ["job:1"], "user_id": True},
    ],
)
async def test_a_ticket_for_nothing_known_is_refused(live, body):
    assert (await call(live, "/tickets", body)).status_code == 422
    assert live.outbox.events == []
    assert live.table.tickets == {}


@pytest.mark.parametrize("path", ["/tickets", "/progress", "/progress/batch"])
async def test_who_was_not_let_in_is_refused(live, path):
    assert (await call(live, path, {}, signed=False)).status_code == 401


async def test_a_ticket_that_cannot_be_recorded_is_a_503(live):
    live.outbox.failing = True
    assert (await call(live, "/tickets", {"topics": ["job:1"]})).status_code == 503


async def test_progress_is_answered_with_what_became_of_it(live):
    await live.connect("a", "job:1")
    answer = await call(live, "/progress", {"topic": "job:1", "data": {"n": 1}, "terminal": True})
    assert answer.json() == {
        "topic": "job:1",
        "sequence": 1,
        "pushed": 1,
        "gone": 0,
        "late": 0,
        "handed_on": 0,
    }
    assert live.sockets.heard["a"][0]["terminal"] is True


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"topic": "job:1"}, 422),
        ({"topic": "job:1", "data": []}, 422),
        ({"topic": "card:1", "data": {}}, 422),
        ({"topic": "job:1", "data": {}, "event_id": ""}, 422),
        ({"topic": "job:1", "data": {}, "event_id": "a b"}, 422),
        ({"topic": "job:1", "data": {}, "event_id": "x" * 129}, 422),
        ({"topic": "job:1", "data": {"a": "x" * MAX_DATA_BYTES}}, 413),
        (b'{"topic": "job:1", "data": {"a": NaN}}', 400),
        (b'{"topic": "job:1", "data": {"a": "\\ud800"}}', 400),
        (b'{"topic": "job:1", "data": {"a": 1e999}}', 400),
        (b"{", 400),
    ],
)
async def test_progress_that_is_none_is_refused(live, body, status):
    answer = await call(live, "/progress", body)
    assert answer.status_code == status, answer.text
    assert live.table.log == {}


async def test_the_largest_data_fit_a_frame(live):
    await live.connect("a", "job:1")
    data = {"a": "\x01" * ((MAX_DATA_BYTES - 8) // 6)}
    assert (await call(live, "/progress", {"topic": "job:1", "data": data})).status_code == 200
    # The fake refuses what API Gateway would.
    assert live.sockets.heard["a"][0]["data"] == data


async def test_an_event_id_or_a_key_tells_repetitions(live):
    body = {"topic": "job:1", "data": {"n": 1}}
    for fields, headers in (({"event_id": "e"}, {}), ({}, {"Idempotency-Key": "k"})):
        first, again = [
            (await call(live, "/progress", body | fields, **headers)).json() for _ in range(2)
        ]
        assert first == again
        other = await call(live, "/progress", body | fields | {"data": {"n": 2}}, **headers)
        assert (other.status_code, other.json()["code"]) == (409, "progress_conflict")
    assert (await call(live, "/progress", body)).json()["sequence"] == 3
    batch = {"messages": [body, body]}
    for _ in range(2):
        results = await call(live, "/progress/batch", batch, **{"Idempotency-Key": "b"})
        told = [item["progress"]["sequence"] for item in results.json()["results"]]
        assert told == [4, 5]


async def test_a_batch_tells_of_each(live):
    await call(live, "/progress", {"topic": "job:1", "data": {}, "event_id": "e"})
    batch = [
        {"topic": "job:1", "data": {"n": 1}, "event_id": "e"},
        {"topic": "job:2", "data": {"n": 2}},
    ]
    refused, posted = (await call(live, "/progress/batch", {"messages": batch})).json()["results"]
    assert (refused["status"], refused["error"]["code"]) == (409, "progress_conflict")
    assert "progress" not in refused
    assert (posted["status"], posted["progress"]["sequence"]) == (200, 1)
    assert "error" not in posted


@pytest.mark.parametrize("count", [0, MAX_BATCH + 1])
async def test_a_batch_has_bounds(live, count):
    messages = [{"topic": "job:1", "data": {}}] * count
    assert (await call(live, "/progress/batch", {"messages": messages})).status_code == 422
