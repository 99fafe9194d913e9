"""One process of the message service or of a consumer, which is killed at a step if it is asked to.

Run as `python -m tests.fakes.mortal <endpoint> <work> <id> [<step>]`, with real adapters.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench.emulator import client, create_table
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

TABLE = BUS = QUEUE = RULE = "mortal"
ROOT = Path(__file__).resolve().parents[2]
TYPE = "mortal.happened"
CONSUMER = "local-operator-mortal"
"""Named like one of whoever calls the local cloud."""

LEASE = timedelta(seconds=1)
EFFECT, REPORT = "EFFECT", "REPORT"
# Of one BatchGetItem, as DynamoDB has it.
_KEYS = 100


def prepare(endpoint: str, bus: str, event_type: str) -> None:
    """The consumer's table, and its queue with a rule of the bus for the type of event."""
    create_table(client("dynamodb", endpoint), TABLE, 3)
    events, sqs = client("events", endpoint), client("sqs", endpoint)
    # A message that nobody acknowledged comes again soon.
    url = sqs.create_queue(QueueName=QUEUE, Attributes={"VisibilityTimeout": "1"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    pattern = json.dumps({"detail-type": [event_type]})
    events.put_rule(Name=RULE, EventBusName=bus, EventPattern=pattern)
    target = {"Id": "queue", "Arn": arn["QueueArn"]}
    events.put_targets(Rule=RULE, EventBusName=bus, Targets=[target])


def remove(endpoint: str, bus: str) -> None:
    """What `prepare` made."""
    events, sqs = client("events", endpoint), client("sqs", endpoint)
    events.remove_targets(Rule=RULE, EventBusName=bus, Ids=["queue"])
    events.delete_rule(Name=RULE, EventBusName=bus)
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"])
    client("dynamodb", endpoint).delete_table(TableName=TABLE)


def command(endpoint: str, work: str, event_id: str = "-", step: str = "") -> list[str]:
    """What runs such a process."""
    return [sys.executable, "-m", "tests.fakes.mortal", endpoint, work, event_id, step]


def environment() -> dict[str, str]:
    """What such a process needs of it."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'layers/common/python'}",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def counts(endpoint: str, kind: str, ids: Sequence[str]) -> Counter[str]:
    """How often the consumer counted each event: `EFFECT` or `REPORT`."""
    dynamodb = client("dynamodb", endpoint)
    found: Counter[str] = Counter()
    for start in range(0, len(ids), _KEYS):
        keys = [
            {"pk": {"S": f"{kind}#{one}"}, "sk": {"S": kind}} for one in ids[start : start + _KEYS]
        ]
        answer = dynamodb.batch_get_item(RequestItems={TABLE: {"Keys": keys}})
        assert not answer.get("UnprocessedKeys")
        for item in answer["Responses"][TABLE]:
            found[item["pk"]["S"].partition("#")[2]] = int(item["times"]["N"])
    return found


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


async def consume(endpoint: str, _event_id: str, killer: Killer) -> None:
    """Takes what the queue has now."""
    await _Consumer(endpoint, killer).once()


async def go_on_consuming(endpoint: str, _event_id: str, killer: Killer) -> None:
    """Takes what the queue has, until it is killed."""
    consumer = _Consumer(endpoint, killer)
    while True:
        await consumer.once()


class _Consumer:
    """Counts an effect for each event, in the transaction that ends its claim, and each report."""

    def __init__(self, endpoint: str, killer: Killer) -> None:
        self._sqs = client("sqs", endpoint)
        self._url = self._sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
        self._table = DynamoTable(TABLE, lambda: client("dynamodb", endpoint))
        self._claims = DynamoClaims(self._table, lease=LEASE, kept=timedelta(days=1))
        self._killer = killer
        self._consumer = EventConsumer(
            {QUEUE: CONSUMER},
            claims=self._claims,
            visibility=self,
            reporter=self,
            handle=self._handle,
        )

    async def once(self) -> None:
        received = self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=2, AttributeNames=["All"]
        ).get("Messages", [])
        if not received:
            return
        records = [_record(message) for message in received]
        answer = await self._consumer.consume({"Records": records})
        failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        for message in received:
            if message["MessageId"] not in failed:
                handle = message["ReceiptHandle"]
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=handle)

    async def _handle(self, handling: Handling) -> None:
        self._killer.at("claimed")
        claim = handling.claim
        done = Attempt(attempt=claim.attempt, outcome="done", started_at=utc_now(), duration_ms=0)
        effect = _count(EFFECT, handling.event.event_id)
        await self._table.transact([effect, self._claims.completion(claim, done)])
        self._killer.at("done")

    async def report(self, reports: Sequence[Report]) -> None:
        self._killer.at("before the report")
        for one in reports:
            await self._table.transact([_count(REPORT, one.event.event_id)])
        self._killer.at("reported")

    async def hide(self, _delivery: Any, _seconds: int) -> None:
        """The queue's own time is short."""


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
    works = {
        "publish": publish,
        "sweep": sweep,
        "consume": consume,
        "go-on-consuming": go_on_consuming,
    }
    asyncio.run(works[work](address, wanted, Killer(rest[0] if rest else "")))
    # Threads of the clients: nothing is left to be done.
    os._exit(0)
