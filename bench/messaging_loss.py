"""The loss check: whether each event that was accepted arrived, and had one effect.

In the first phase events are published under known ids while processes of the service and of a
consumer are killed, refused calls are repeated, some are sent twice on purpose, and the webhook's
receiver fails now and then. In the second it becomes quiet, dead letters are sent again, and ids
are compared: what was accepted; what the receiver verified and took; how often each had its effect
at the consumer, which counts it in the transaction that ends its claim; what is on record.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from uuid import uuid4

import httpx

from bench.figure import Figure
from bench.local_cloud import BUS, local_cloud
from bench.messaging_calls import TRIES, Calls, Publisher
from tests.fakes.consumer_process import consuming
from tests.fakes.mortal import EFFECT, REPORT
from tests.fakes.processes import kill_a_worker
from tests.fakes.webhook_receiver import Behaviour, Received, WebhookReceiver

COUNT = 10_000
"""Events of the whole check."""

PUBLISHING = ["santaclaude-local-messaging-publish", "santaclaude-local-messaging-sweep"]
DELIVERING = ["santaclaude-local-messaging-relay", "santaclaude-local-messaging-deliver"]
"""Killed ones keep what they had claimed until their leases end: minutes."""

_LOOK_SECONDS = 0.05
_FAILING = 0.05
"""Of the receiver's first requests, as many as there are events."""

_REPEATED = 0.1
"""Of the publisher's calls."""

_READS_AT_ONCE = 8
_PATIENCE_SECONDS = 1_800.0
_REDRIVE_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a check found; ids of events."""

    accepted: frozenset[str]
    unaccepted: frozenset[str]
    lost_at_the_webhook: frozenset[str]
    """Events that the receiver never answered with 2xx and a signature that it could verify."""
    lost_at_the_consumer: frozenset[str]
    lost_on_record: frozenset[str]
    """Events whose life does not say that every consumer has them."""
    doubled_at_the_consumer: frozenset[str]
    """Events that had their effect more than once."""
    refused_by_the_webhook: int
    dropped_by_the_webhook: int
    """Requests that it took for an event that it had: it knows them by the `webhook-id`."""
    duplicates_at_the_consumer: int
    """Attempts that were reported beyond one for each event."""
    repeated_calls: int
    kills: int
    redriven: int
    publishing_seconds: float
    settling_seconds: float


def measure(count: int = COUNT) -> Iterator[Figure]:
    """The whole check, in a local cloud of its own."""
    random = Random(1)
    with local_cloud() as cloud:

        def kill() -> bool:
            return kill_a_worker(PUBLISHING + DELIVERING, cloud.state, random)

        found = asyncio.run(check(cloud.messaging, cloud.aws, kill, count, random))
    yield Figure("loss check: events accepted", len(found.accepted), "", floor=count)
    yield Figure("loss check: lost at the consumer", len(found.lost_at_the_consumer), "", 0)
    yield Figure("loss check: lost at the webhook", len(found.lost_at_the_webhook), "", 0)
    yield Figure("loss check: lost by the service's record", len(found.lost_on_record), "", 0)
    doubled = len(found.doubled_at_the_consumer)
    yield Figure("loss check: doubled in effect at the consumer", doubled, "", 0)
    yield Figure(
        "loss check: duplicates without effect there", found.duplicates_at_the_consumer, ""
    )
    yield Figure("loss check: requests refused by the webhook", found.refused_by_the_webhook, "")
    yield Figure("loss check: duplicates dropped by the webhook", found.dropped_by_the_webhook, "")
    yield Figure("loss check: processes killed", found.kills, "")
    yield Figure("loss check: calls repeated by the publisher", found.repeated_calls, "")
    yield Figure("loss check: dead letters sent again", found.redriven, "")
    yield Figure("loss check: publishing", found.publishing_seconds, "s")
    yield Figure("loss check: until quiet", found.settling_seconds, "s")


async def check(
    door: str,
    aws: str,
    kill: Callable[[], bool],
    count: int,
    random: Random,
    *,
    batch: int = 50,
    kill_every: int = 250,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> Found:
    """Both phases, for `count` events through the message service's front door, with a consumer of
    the bus at the address `aws`.

    Events are published in calls of `batch`. At the first one, and each time that `kill_every` more
    are accepted, `kill` is called and the consumer is killed. What has not arrived
    `patience_seconds` after that is lost.
    """
    event_type = f"loss.{uuid4().hex}"
    ids = [f"{event_type}-{number}" for number in range(count)]
    script = [Behaviour(503 if random.random() < _FAILING else 204) for _ in range(count)]
    with (
        WebhookReceiver([*script, Behaviour()]) as receiver,
        consuming(aws, BUS, event_type) as consumer,
    ):
        async with httpx.AsyncClient(base_url=door, timeout=60) as client:
            calls = Calls(client)
            service = _Service(calls, event_type)
            subscription = await calls.subscribe(receiver.url, event_type)
            verified: set[str] = set()

            def verify(request: Received) -> None:
                # As it comes: a signature is good for five minutes.
                if _is_taken(request):
                    verified.add(request.verified(subscription["secret"])["id"])

            receiver.on_request = verify
            began = time.monotonic()
            publisher = Publisher(client, event_type, random, batch=batch, repeats=_REPEATED)
            publishing = asyncio.create_task(publisher.publish(ids))
            kills, kill_at = 0, 0
            while not publishing.done():
                await asyncio.wait([publishing], timeout=_LOOK_SECONDS)
                if len(publisher.accepted) >= kill_at:
                    kills += await asyncio.to_thread(kill)
                    kills += consumer.kill()
                    kill_at = len(publisher.accepted) + kill_every
            await publishing
            published = time.monotonic()
            accepted = frozenset(publisher.accepted)

            def arrived() -> bool:
                return accepted <= _taken(receiver).keys() and not accepted - effects().keys()

            effects = functools.partial(consumer.counts, EFFECT, sorted(accepted))
            redriven = await service.settle(arrived, published + patience_seconds)
            on_record = await service.delivered(sorted(accepted))
            await calls.unsubscribe(subscription)
        taken = _taken(receiver)
        refused = sum(not _is_taken(one) for one in receiver.received)
        effected = effects()
        reported = consumer.counts(REPORT, sorted(accepted))
    return Found(
        accepted=accepted,
        unaccepted=frozenset(ids) - accepted,
        lost_at_the_webhook=accepted - verified,
        lost_at_the_consumer=accepted - effected.keys(),
        lost_on_record=accepted - on_record,
        doubled_at_the_consumer=frozenset(one for one, times in effected.items() if times > 1),
        refused_by_the_webhook=refused,
        dropped_by_the_webhook=taken.total() - len(taken),
        duplicates_at_the_consumer=reported.total() - len(reported),
        repeated_calls=publisher.repeated,
        kills=kills,
        redriven=redriven,
        publishing_seconds=published - began,
        settling_seconds=time.monotonic() - published,
    )


def _is_taken(request: Received) -> bool:
    return httpx.codes.is_success(request.status)


def _taken(receiver: WebhookReceiver) -> Counter[str]:
    """How often the receiver took an event."""
    return Counter(one.headers["webhook-id"] for one in list(receiver.received) if _is_taken(one))


class _Service:
    """What the check asks of the message service beside publishing."""

    def __init__(self, calls: Calls, event_type: str) -> None:
        self._call = calls.call
        self._type = event_type

    async def settle(self, arrived: Callable[[], bool], deadline: float) -> int:
        """Waits until everything has arrived; how many dead letters it sent again meanwhile."""
        redriven = 0
        redrive_at = time.monotonic() + _REDRIVE_SECONDS
        while not arrived() and time.monotonic() < deadline:
            await asyncio.sleep(1)
            if time.monotonic() > redrive_at:
                redriven += await self._redrive()
                redrive_at = time.monotonic() + _REDRIVE_SECONDS
        return redriven

    async def _redrive(self) -> int:
        stream = "/api/v1/streams/default-events"
        letters = await self._call("GET", f"{stream}/dead-letters", params={"type": self._type})
        count = len(letters["dead_letters"])
        if count:
            await self._call("POST", f"{stream}/redrive", json={"filter": {"type": self._type}})
        return count

    async def delivered(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of whose life the service says that every consumer has them."""
        turn = asyncio.Semaphore(_READS_AT_ONCE)

        async def one(event_id: str) -> str | None:
            async with turn:
                # A report may lie a moment behind the request.
                for _ in range(TRIES):
                    life = await self._call("GET", f"/api/v1/events/{event_id}")
                    if life["state"] == "delivered":
                        return event_id
                    await asyncio.sleep(1)
            return None

        return frozenset(filter(None, await asyncio.gather(*(one(event_id) for event_id in ids))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=COUNT)
    for figure in measure(parser.parse_args().events):
        print(figure.line(), flush=True)
