"""One process of the message service or of a consumer, which is killed at a step if it is asked to.

Run as `python -m tests.fakes.mortal <endpoint> <work> <id> [<step>]`, with real adapters.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from bench.emulator import client
from functions.messaging.adapters.dynamodb_events import DynamoEvents
from functions.messaging.adapters.eventbridge import EventBridgeBus
from functions.messaging.adapters.schemas import EventSchemas
from functions.messaging.domain.publishing import NewEvent, Publishing
from functions.messaging.domain.sweeping import Pace, Sweeper
from servicekit.clock import utc_now
from servicekit.consumer import EventConsumer
from servicekit.consumer_claims import DynamoClaims
from servicekit.consumption import Attempt, Handling, Report
from servicekit.dynamodb import DynamoTable, Expression, Update
from tests.fakes.messaging_events import MemoryMetrics

TABLE = BUS = QUEUE = "mortal"
TYPE = "mortal.happened"
LEASE = timedelta(seconds=1)


class Killer:
    """Kills this process, as from outside, when it comes to the step."""

    def __init__(self, step: str) -> None:
        self._step = step

    def at(self, step: str) -> None:
        if step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


async def publish(endpoint: str, event_id: str, killer: Killer) -> None:
    class Store(DynamoEvents):
        async def accept(self, event: Any) -> Any:
            found = await super().accept(event)
            killer.at("accepted")
            return found

    class Bus(EventBridgeBus):
        async def put(self, envelopes: Any) -> list[int]:
            refused = await super().put(envelopes)
            killer.at("on the bus")
            return refused

    table = DynamoTable(TABLE, lambda: client("dynamodb", endpoint))
    bus = Bus(BUS, lambda: client("events", endpoint))
    service = Publishing(Store(table, 30), bus, EventSchemas(), utc_now)
    new = NewEvent(
        event_id=event_id,
        event_type=TYPE,
        payload={"n": 1},
        source="santaclaude.e2e",
        fingerprint="f",
    )
    await service.publish_one(new)
    killer.at("marked")


async def sweep(endpoint: str, _event_id: str, _killer: Killer) -> None:
    table = DynamoTable(TABLE, lambda: client("dynamodb", endpoint))
    sweeper = Sweeper(
        DynamoEvents(table, 30),
        EventBridgeBus(BUS, lambda: client("events", endpoint)),
        EventSchemas(),
        MemoryMetrics(),
        Pace(timedelta(0), 1_000.0),
        utc_now,
    )
    await sweeper.sweep(5.0)


async def consume(endpoint: str, event_id: str, killer: Killer) -> None:
    """Takes what the queue has, counts an effect for each event, and tells of attempts."""
    sqs = client("sqs", endpoint)
    url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    table = DynamoTable(TABLE, lambda: client("dynamodb", endpoint))
    claims = DynamoClaims(table, lease=LEASE, kept=timedelta(days=1))

    async def handle(handling: Handling) -> None:
        killer.at("claimed")
        claim = handling.claim
        done = Attempt(attempt=claim.attempt, outcome="done", started_at=utc_now(), duration_ms=0)
        await table.transact([_count("EFFECT", event_id), claims.completion(claim, done)])
        killer.at("done")

    class Reporter:
        async def report(self, reports: Sequence[Report]) -> None:
            killer.at("before the report")
            for _ in reports:
                await table.transact([_count("REPORT", event_id)])
            killer.at("reported")

    class Visible:
        async def hide(self, _delivery: Any, _seconds: int) -> None:
            """The queue's own time is short."""

    consumer = EventConsumer(
        {QUEUE: "mortal-consumer"},
        claims=claims,
        visibility=Visible(),
        reporter=Reporter(),
        handle=handle,
    )
    received = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2, AttributeNames=["All"]
    ).get("Messages", [])
    if not received:
        return
    answer = await consumer.consume({"Records": [_record(message) for message in received]})
    failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
    for message in received:
        if message["MessageId"] not in failed:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def _count(kind: str, event_id: str) -> Update:
    return Update(
        {"pk": f"{kind}#{event_id}", "sk": kind},
        Expression(
            "attribute_not_exists(pk) OR attribute_exists(pk)",
            update="ADD times :one",
            values={":one": 1},
        ),
    )


def _record(message: dict[str, Any]) -> dict[str, Any]:
    """The message as Lambda gets it."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:000000000000:{QUEUE}",
    }


if __name__ == "__main__":
    address, work, wanted, *rest = sys.argv[1:]
    works = {"publish": publish, "sweep": sweep, "consume": consume}
    asyncio.run(works[work](address, wanted, Killer(rest[0] if rest else "")))
    # Threads of the clients: nothing is left to be done.
    os._exit(0)
