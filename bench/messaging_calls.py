"""What measures ask of the message service through its front door."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import httpx

from contracts.messaging.publishing import MAX_BATCH_EVENTS
from functions.messaging.domain.webhook_fanout import CACHED_SECONDS

TRIES = 40
"""Of a call that fails."""

_BATCHES_AT_ONCE = 4
_ACCEPTED = 202


class Publisher:
    """Publishes ids until everything is accepted, or was refused too often.

    So large a share of the calls as `repeats` is made a second time.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        event_type: str,
        random: Random,
        *,
        batch: int = MAX_BATCH_EVENTS,
        repeats: float = 0.0,
    ) -> None:
        self._client = client
        self._type = event_type
        self._random = random
        self._size = batch
        self._repeats = repeats
        self.accepted: set[str] = set()
        self.repeated = 0

    async def publish(self, ids: Sequence[str]) -> None:
        """Events under these ids; `accepted` has them then."""
        turn = asyncio.Semaphore(_BATCHES_AT_ONCE)

        async def one(batch: Sequence[str]) -> None:
            async with turn:
                await self._batch(batch)
                if self._random.random() < self._repeats:
                    await self._batch(batch)

        await asyncio.gather(
            *(one(ids[first : first + self._size]) for first in range(0, len(ids), self._size))
        )

    async def _batch(self, batch: Sequence[str]) -> None:
        left = list(batch)
        for attempt in range(TRIES):
            if not left:
                return
            if attempt:
                self.repeated += 1
                await asyncio.sleep(self._random.random() * min(2.0, 0.1 * 2**attempt))
            accepted = await self._send(left)
            self.accepted |= accepted
            left = [event_id for event_id in left if event_id not in accepted]

    async def _send(self, ids: Sequence[str]) -> set[str]:
        events = [{"event_type": self._type, "id": one, "payload": {"text": one}} for one in ids]
        try:
            answer = await self._client.post("/api/v1/events/batch", json={"events": events})
        except httpx.TransportError:
            return set()
        if answer.status_code != _ACCEPTED:
            return set()
        results = answer.json()["results"]
        return {
            event_id
            for event_id, result in zip(ids, results, strict=True)
            if result["status"] == _ACCEPTED
        }


class Calls:
    """Calls that are repeated where the service fails."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def subscribe(self, url: str, event_type: str) -> dict[str, Any]:
        """A subscription to the type, once every fan-out knows it."""
        body = {"url": url, "types": [event_type], "max_concurrency": 20}
        subscription = await self.call("POST", "/api/v1/subscriptions", json=body)
        await asyncio.sleep(CACHED_SECONDS + 1)
        return subscription

    async def unsubscribe(self, subscription: dict[str, Any]) -> None:
        """Ends it."""
        await self.call("DELETE", f"/api/v1/subscriptions/{subscription['subscription_id']}")

    async def call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """The answer; {} where there is none. Raises `httpx.HTTPStatusError`."""
        for _ in range(TRIES):
            answer = await self._client.request(method, path, **arguments)
            if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                break
            await asyncio.sleep(0.5)
        answer.raise_for_status()
        told: dict[str, Any] = answer.json() if answer.content else {}
        return told
