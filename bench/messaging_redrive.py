"""A redrive of ten thousand dead letters, with kills on the way: whether each has one effect.

Events are published, and a consumer reports that it gave each of them up. Then it is there, and one
redrive sends everything as fast as a redrive may, while the process that sends is killed once, and
the one that consumes three times. The consumer counts an effect in the transaction that ends its
claim; ids are compared: what had died, and how often each had its effect.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import uuid4

import httpx

from bench.figure import Figure
from bench.local_cloud import BUS, local_cloud
from bench.messaging_calls import Calls, Publisher
from contracts.messaging.dead_letters import MAX_RATE
from contracts.messaging.deliveries import MAX_REPORTS
from servicekit.clock import to_text, utc_now
from tests.fakes.consumer_process import ConsumerProcess, consuming
from tests.fakes.mortal import CONSUMER, EFFECT, REPORT
from tests.fakes.processes import kill_a_worker

COUNT = 10_000
"""Letters of the whole measure."""

SENDING = ["santaclaude-local-messaging-tasks"]
_STREAM = "/api/v1/streams/default-events"
_PATIENCE_SECONDS = 1_800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of the letters."""

    dead: int
    """By a dry run."""
    sent: int
    failed: int
    kills: int
    lost: frozenset[str]
    """Events that had no effect."""
    doubled: frozenset[str]
    """Events that had more than one."""
    duplicates: int
    """Attempts that were reported beyond one for each event."""
    left: int
    """Letters that are still there afterwards."""
    redriving_seconds: float
    arriving_seconds: float


def measure(count: int = COUNT) -> Iterator[Figure]:
    """The whole redrive, in a local cloud of its own."""
    random = Random(1)
    with local_cloud() as cloud:

        def kill() -> bool:
            return kill_a_worker(SENDING, cloud.state, random)

        found = asyncio.run(redrive(cloud.messaging, cloud.aws, kill, count))
    yield Figure("redrive: dead letters", found.dead, "", floor=count)
    yield Figure("redrive: letters sent again", found.sent, "", floor=count)
    yield Figure("redrive: letters that could not be sent", found.failed, "", 0)
    yield Figure("redrive: lost at the consumer", len(found.lost), "", 0)
    yield Figure("redrive: doubled in effect at the consumer", len(found.doubled), "", 0)
    yield Figure("redrive: duplicates without effect there", found.duplicates, "")
    yield Figure("redrive: dead letters left", found.left, "", 0)
    yield Figure("redrive: processes killed", found.kills, "")
    yield Figure("redrive: until it was completed", found.redriving_seconds, "s")
    yield Figure("redrive: until everything had its effect", found.arriving_seconds, "s")


async def redrive(door: str, aws: str, kill: Callable[[], bool], count: int) -> Found:
    """Has `count` events given up and sends them again, through the message service's front door,
    to a consumer of the bus at the address `aws`.

    At each quarter that is sent the consumer is killed; `kill` is called once, for what it kills is
    gone on with only when its task's message comes again, minutes later.
    """
    event_type = f"redrive.{uuid4().hex}"
    async with httpx.AsyncClient(base_url=door, timeout=60) as client:
        publisher = Publisher(client, event_type, Random(1))
        await publisher.publish([f"{event_type}-{number}" for number in range(count)])
        ids = sorted(publisher.accepted)
        letters = _Letters(Calls(client), event_type)
        await letters.give_up(ids)
        dead = await letters.matched()
        with consuming(aws, BUS, event_type) as consumer:
            began = time.monotonic()
            kills: list[Callable[[], int]] = [
                consumer.kill,
                functools.partial(_both, kill, consumer),
                consumer.kill,
            ]
            ended, killed = await letters.redrive(kills, dead)
            completed = time.monotonic()
            deadline = completed + _PATIENCE_SECONDS
            effects = consumer.counts(EFFECT, ids)
            while len(effects) < count and time.monotonic() < deadline:
                await asyncio.sleep(1)
                effects = consumer.counts(EFFECT, ids)
            arrived = time.monotonic()
            reported = consumer.counts(REPORT, ids)
        left = await letters.matched()
    return Found(
        dead=dead,
        sent=ended["counts"]["sent"],
        failed=ended["counts"]["failed"],
        kills=killed,
        lost=frozenset(ids) - effects.keys(),
        doubled=frozenset(one for one, times in effects.items() if times > 1),
        duplicates=reported.total() - len(reported),
        left=left,
        redriving_seconds=completed - began,
        arriving_seconds=arrived - began,
    )


def _both(kill: Callable[[], bool], consumer: ConsumerProcess) -> int:
    return kill() + consumer.kill()


class _Letters:
    """The dead letters of one type of events."""

    def __init__(self, calls: Calls, event_type: str) -> None:
        self._call = calls.call
        self._filter = {"type": event_type}

    async def give_up(self, ids: Sequence[str]) -> None:
        """The consumer's reports that it did."""
        report = {
            "consumer": CONSUMER,
            "attempt": 3,
            "outcome": "dead",
            "error": "not_there",
            "started_at": to_text(utc_now()),
        }
        for start in range(0, len(ids), MAX_REPORTS):
            some = [{**report, "event_id": one} for one in ids[start : start + MAX_REPORTS]]
            await self._call("POST", "/api/v1/deliveries", json={"deliveries": some})

    async def matched(self) -> int:
        """How many there are, by a dry run."""
        body = {"filter": self._filter, "dry_run": True}
        found: int = (await self._call("POST", f"{_STREAM}/redrive", json=body))["matched"]
        return found

    async def redrive(
        self, kills: Sequence[Callable[[], int]], count: int
    ) -> tuple[dict[str, Any], int]:
        """Sends them, with one of `kills` after each equal part; the redrive as it ended, or as it
        is when nothing is to be hoped for any more, and how many processes were killed.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        body = {"filter": self._filter, "rate": MAX_RATE}
        redrive = await self._call("POST", f"{_STREAM}/redrive", json=body)
        path = f"/api/v1/redrives/{redrive['id']}"
        killed, rounds = 0, 0
        while redrive["state"] in {"queued", "running"} and time.monotonic() < deadline:
            await asyncio.sleep(1)
            redrive = await self._call("GET", path)
            part = count / (len(kills) + 1)
            if rounds < len(kills) and redrive["counts"]["sent"] > (rounds + 1) * part:
                killed += await asyncio.to_thread(kills[rounds])
                rounds += 1
        return redrive, killed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--letters", type=int, default=COUNT)
    for figure in measure(parser.parse_args().letters):
        print(figure.line(), flush=True)
