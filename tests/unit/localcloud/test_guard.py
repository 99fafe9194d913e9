"""The guard before the emulated account: browsers stay out, SDKs pass."""

import asyncio

import pytest

from localcloud.guard import SAVE_PATH, Guard

HOST = (b"host", b"127.0.0.1:4566")


def status(headers, kind="http", path="/", saved=None):
    sent = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "headers": headers, "method": "POST", "path": path}
    guard = Guard(application, "8000,8001", lambda: saved.append(True), lambda: None)
    asyncio.run(guard(scope, receive, send))
    return sent[0].get("status", sent[0].get("code"))


@pytest.mark.parametrize(
    "headers",
    [
        [HOST],
        [(b"host", b"localhost:4566")],
        [(b"host", b"[::1]:4566")],
        [(b"host", b"[::1]")],
        [(b"host", b"my-bucket.localhost:4566")],
        # A signed request that the front door passes on as it came.
        [(b"host", b"127.0.0.1:8001"), (b"origin", b"http://localhost:8001")],
        [HOST, (b"sec-fetch-site", b"none")],
    ],
)
def test_programs_and_the_front_door_pass(headers):
    assert status(headers) == 200


@pytest.mark.parametrize(
    "headers",
    [
        [HOST, (b"origin", b"http://evil.example")],
        [HOST, (b"origin", b"null")],
        [HOST, (b"origin", b"http://localhost:3000")],
        [HOST, (b"sec-fetch-site", b"cross-site")],
        [(b"host", b"evil.example:4566")],
        [(b"host", b"127.0.0.1.evil.example")],
        [(b"host", b"localhost.evil.example:4566")],
        [HOST, (b"host", b"evil.example")],
    ],
)
def test_pages_do_not(headers):
    assert status(headers) == 403
    assert status(headers, "websocket") == 1008


def test_the_lifespan_is_the_emulators():
    assert status([], "lifespan") == 200


def test_what_was_read_of_streams_is_forgotten_before_anything_is_served():
    steps = []

    async def application(scope, receive, send):
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message):
        steps.append(message["type"])

    guard = Guard(application, "8000", lambda: None, lambda: steps.append("forgotten"))
    asyncio.run(guard({"type": "lifespan"}, None, send))
    assert steps == ["forgotten", "lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_the_state_is_saved_when_the_local_cloud_says_so_but_no_page():
    saved = []
    assert status([HOST, (b"origin", b"http://evil.example")], path=SAVE_PATH, saved=saved) == 403
    assert saved == []
    assert status([HOST], path=SAVE_PATH, saved=saved) == 204
    assert saved == [True]


@pytest.mark.parametrize("sent", [[], [(b"X-Forwarded-Proto", b"http")]])
def test_policies_that_demand_tls_let_loopback_pass(sent):
    seen = []

    async def application(scope, receive, send):
        seen.extend(scope["headers"])

    scope = {"type": "http", "headers": [HOST, *sent], "method": "GET", "path": "/"}
    asyncio.run(Guard(application, "8000", lambda: None, lambda: None)(scope, None, None))
    assert seen == [HOST, (b"x-forwarded-proto", b"https")]
