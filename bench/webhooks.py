"""Webhooks without a store: what an event costs where nobody wants it, a signature, a request."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from bench.figure import Figure
from contracts.messaging.subscriptions import MAX_SUBSCRIPTIONS
from functions.messaging.adapters.webhook_http import WebhookHttp
from functions.messaging.domain.envelopes import envelope_of
from functions.messaging.domain.events import Event
from functions.messaging.domain.subscriptions import Subscription
from functions.messaging.domain.webhook_signing import Secrets, make_secret, signed_headers

REQUESTS = 1_000
IN_FLIGHT = 50
_ROUNDS = 200
_NOW = datetime(2026, 11, 30, tzinfo=UTC)
_ANSWER = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"


def measure() -> Iterator[Figure]:
    """CPU of an offer to all subscriptions there may be, of a signature, and requests a second."""
    name = f"offering an event to {MAX_SUBSCRIPTIONS} subscriptions: CPU"
    yield Figure(name, _offering() * 1000, "ms", 6)
    yield Figure("signing an event of 2 KB with two secrets: CPU", _signing() * 1000, "ms", 1)
    rate, cpu = asyncio.run(_posting())
    yield Figure(
        f"requests to an endpoint, {IN_FLIGHT} in flight",
        rate,
        "/s",
        remark=f"{cpu * 1000:.2f} ms CPU each, the endpoint's own included",
    )


def _offering() -> float:
    event = Event(
        event_id="e",
        event_type="card.moved",
        payload='{"board":{"id":7},"card":{"id":1}}',
        source="santaclaude.bench",
        tenant="project:7",
        correlation_id="c",
        occurred_at=_NOW,
        accepted_at=_NOW,
        fingerprint="f",
    )
    envelope = envelope_of(event)
    subscriptions = [
        Subscription(
            subscription_id=str(number),
            url="https://hooks.example.com/",
            types=("user.created", "card.*"),
            filter={"data.board.id": [8, 9], "tenant": "project:7"},
            description="",
            ordered=False,
            max_concurrency=5,
            version=1,
            since=_NOW,
            created_at=_NOW,
            updated_at=_NOW,
        )
        for number in range(MAX_SUBSCRIPTIONS)
    ]
    began = time.process_time()
    for _ in range(_ROUNDS):
        wanted = [one for one in subscriptions if one.wants(envelope)]
        if wanted:
            raise AssertionError("nobody wants it")
    return (time.process_time() - began) / _ROUNDS


def _signing() -> float:
    secrets = Secrets(make_secret()).rotated(make_secret(), datetime.max.replace(tzinfo=UTC))
    body = b"x" * 2_048
    began = time.process_time()
    for _ in range(_ROUNDS):
        signed_headers(secrets, "e", body, _NOW)
    return (time.process_time() - began) / _ROUNDS


async def _posting() -> tuple[float, float]:
    """Requests a second, and seconds of CPU of each."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2_048)
        writer.write(_ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=512)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    endpoints = WebhookHttp(local=True)
    free = asyncio.Semaphore(IN_FLIGHT)

    async def post() -> None:
        async with free:
            answered = await endpoints.post(url, {}, b"x" * 2_048)
            if answered.error is not None:
                raise AssertionError(answered.error)

    async with server:
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(post() for _ in range(REQUESTS)))
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return REQUESTS / seconds, used / REQUESTS
