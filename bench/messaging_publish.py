"""CPU of the message service's publish function, of one event a call.

The whole handler: the event of API Gateway goes in, its answer comes out. Once with a store and a
bus in memory, and once with what they add: botocore's requests, made, signed and sent to nobody.
"""

import asyncio
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, cast

from botocore.awsrequest import AWSResponse, HeadersDict
from mangum import Mangum
from mangum.types import LambdaContext

from bench.figure import Figure
from contracts.messaging.envelope import Envelope
from contracts.messaging.registry import EVENT_TYPES
from functions.messaging.adapters.dynamodb_events import DynamoEvents
from functions.messaging.adapters.eventbridge import EventBridgeBus
from functions.messaging.adapters.schemas import EventSchemas
from functions.messaging.domain.deliveries import DeliveryService
from functions.messaging.domain.dependencies import Publish
from functions.messaging.domain.events import Event
from functions.messaging.domain.ports import Bus, EventPage, EventStore
from functions.messaging.domain.progress import ProgressService
from functions.messaging.domain.publishing import Publishing
from functions.messaging.routes.apps import create_publish_app
from servicekit.aws import make_client
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable
from servicekit.logging import configure_logging

_RUNS = 300
_WARM_UP = 20
_LIMIT_MS = 6.0
_CREDENTIALS = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
}
_ANSWERS = {
    "dynamodb": ("application/x-amz-json-1.0", b"{}"),
    "events": ("application/x-amz-json-1.1", b'{"FailedEntryCount":0,"Entries":[{"EventId":"e"}]}'),
}


class _Memory:
    """A store and a bus that forget."""

    async def accept(self, event: Event) -> Event | None:
        return None if event.event_id else event

    async def get(self, event_id: str) -> Event | None:
        raise NotImplementedError(event_id)

    async def mark_published(self, event_ids: Sequence[str], at: datetime) -> None:
        if not event_ids:
            raise ValueError(at)

    async def unpublished(self, before: datetime, limit: int) -> list[Event]:
        raise NotImplementedError(before, limit)

    async def chain(self, correlation_id: str, limit: int, cursor: str | None) -> EventPage:
        raise NotImplementedError(correlation_id, limit, cursor)

    async def put(self, envelopes: Sequence[Envelope]) -> list[int]:
        return [] if envelopes else [0]


def measure() -> Iterator[Figure]:
    """Milliseconds of CPU per call."""
    configure_logging("message-queue-service", "WARNING")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    table = DynamoTable("messaging", lambda: _answering_itself("dynamodb"))
    bus = EventBridgeBus("bench", lambda: _answering_itself("events"))
    memory = _Memory()
    name = "message service: CPU per publish"
    try:
        yield Figure(f"{name}, store excluded", _cpu(memory, memory), "ms", _LIMIT_MS)
        stored = _cpu(DynamoEvents(table, 30), bus)
        yield Figure(f"{name}, with its requests", stored, "ms", _LIMIT_MS)
        yield from _schemas()
    finally:
        table.close()
        bus.close()
        asyncio.set_event_loop(None)
        loop.close()


def _schemas() -> Iterator[Figure]:
    costs = []
    for event_type in EVENT_TYPES.values():
        schemas = EventSchemas()
        started = time.process_time()
        schemas.check(event_type.name, event_type.example)
        costs.append((time.process_time() - started) * 1000)
    yield Figure(
        "message service: a type's schema, made and compiled",
        statistics.median(costs),
        "ms",
        remark=f"once in a process; at most {max(costs):.1f}",
    )


def _answering_itself(service: str) -> Any:
    """A client that makes and signs its requests, and answers them without sending them."""
    os.environ |= _CREDENTIALS
    client = make_client(service, max_pool_connections=16, parameter_validation=False)
    content_type, body = _ANSWERS[service]

    def answer(request: Any, **_: Any) -> AWSResponse:
        headers: Any = HeadersDict({"Content-Type": content_type})
        return AWSResponse(request.url, 200, headers, cast("Any", _Body(body)))

    client.meta.events.register(f"before-send.{service}", answer)
    return client


class _Body:
    """What botocore reads of an answer."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content


def _cpu(store: EventStore, bus: Bus) -> float:
    service = Publishing(store, bus, EventSchemas(), utc_now)
    # Of the app this call uses the one service.
    dependencies = Publish(
        events=service,
        deliveries=cast("DeliveryService", None),
        progress=cast("ProgressService", None),
    )
    handler = Mangum(create_publish_app(dependencies), lifespan="off")
    spent = []
    for run in range(_WARM_UP + _RUNS):
        event = _event(run)
        started = time.process_time()
        answer = handler(event, cast("LambdaContext", None))
        spent.append((time.process_time() - started) * 1000)
        if answer["statusCode"] != 202:  # noqa: PLR2004
            raise RuntimeError(f"the event was not accepted: {answer['body'][:500]}")
    return statistics.median(spent[_WARM_UP:])


def _event(run: int) -> dict[str, Any]:
    moved = EVENT_TYPES["card.moved"]
    body = {
        "id": f"bench-{run}",
        "event_type": moved.name,
        "payload": moved.example,
        "user_id": 3,
        "timestamp": "2026-01-05T09:30:00.218Z",
    }
    return {
        "resource": "/api/v1/events",
        "path": "/api/v1/events",
        "httpMethod": "POST",
        "headers": {"Content-Type": "application/json", "Host": "bench"},
        "multiValueHeaders": {"Content-Type": ["application/json"], "Host": ["bench"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "requestId": f"bench-{run}",
            "identity": {
                "sourceIp": "203.0.113.7",
                "userArn": "arn:aws:sts::000000000000:assumed-role/santaclaude-prod-ai-api/bench",
            },
        },
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }
