"""How soon after its acceptance an event is with its stream's consumer, in a local cloud of the
measure's own: by the times of the event's life.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from bench.figure import Figure
from bench.local_cloud import local_cloud

_EVENTS = 200
_WARMING = 20
_PAUSE_SECONDS = 0.1
_LIMIT_MS = 200.0
_WAIT_SECONDS = 120.0
_PERCENT = 100
_EXAMPLE = Path(__file__).parent.parent / "contracts" / "events" / "card.moved" / "v1.example.json"


def measure() -> Iterator[Figure]:
    """Of events that are published one after the other."""
    with local_cloud() as cloud:
        waits = asyncio.run(_waits(cloud.messaging))
    cuts = statistics.quantiles(waits, n=_PERCENT)
    yield Figure("publish -> consumer, p50", cuts[49], "ms")
    yield Figure("publish -> consumer, p95", cuts[94], "ms", _LIMIT_MS)


async def _waits(door: str) -> list[float]:
    """Milliseconds from acceptance to the first attempt."""
    payload = json.loads(_EXAMPLE.read_text(encoding="utf-8"))
    async with httpx.AsyncClient(base_url=door, timeout=60) as client:
        ids = []
        for _ in range(_WARMING + _EVENTS):
            body = {"event_type": "card.moved", "payload": payload}
            answer = await client.post("/api/v1/events", json=body)
            ids.append(answer.raise_for_status().json()["message_id"])
            await asyncio.sleep(_PAUSE_SECONDS)
        return [await _wait(client, event_id) for event_id in ids[_WARMING:]]


async def _wait(client: httpx.AsyncClient, event_id: str) -> float:
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        life = (await client.get(f"/api/v1/events/{event_id}")).raise_for_status().json()
        moments = {one["kind"]: one for one in reversed(life["moments"])}
        if "attempted" in moments:
            return _milliseconds(moments["attempted"]) - _milliseconds(moments["accepted"])
        await asyncio.sleep(0.2)
    raise TimeoutError(event_id)


def _milliseconds(moment: dict[str, Any]) -> float:
    return datetime.fromisoformat(moment["at"]).timestamp() * 1000
