"""The message service's store and bus in memory, and its apps called as API Gateway calls them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from contracts.messaging.envelope import Envelope
from functions.messaging.adapters.schemas import EventSchemas
from functions.messaging.domain.audit import Operations
from functions.messaging.domain.deliveries import DeliveryService
from functions.messaging.domain.dependencies import Control, Publish
from functions.messaging.domain.event_life import EventReader
from functions.messaging.domain.events import Event
from functions.messaging.domain.figures import StreamService
from functions.messaging.domain.life import Moment
from functions.messaging.domain.ports import EventPage
from functions.messaging.domain.publishing import Publishing
from functions.messaging.domain.redrives import DeadLetterService
from functions.messaging.domain.replays import ReplayService
from functions.messaging.routes.apps import create_control_app, create_publish_app
from servicekit.audit import AuditTrail
from servicekit.errors import StoreUnavailableError
from servicekit.paging import decode_cursor, encode_cursor
from tests.fakes.messaging_consuming import (
    MemoryArchive,
    MemoryConsumers,
    MemoryLetters,
    MemoryQueues,
    MemoryRedrives,
    MemoryReplays,
    MemoryTasks,
    MemoryTrail,
)
from tests.fakes.messaging_parts import only

ROLE = "arn:aws:sts::000000000000:assumed-role/santaclaude-prod-projectflow-api"


class Clock:
    """Moves when it is told to, and a little each time it is read."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class MemoryEvents:
    """`ports.EventStore`. `failing` names the methods that find the store throttled."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.last: dict[str, int] = {}
        self.failing: set[str] = set()

    async def accept(self, event: Event) -> Event | None:
        self._fail("accept")
        if event.event_id in self.events:
            return self.events[event.event_id]
        if event.ordering_key is not None:
            self.last[event.ordering_key] = self.last.get(event.ordering_key, 0) + 1
            event = replace(event, ordering_sequence=self.last[event.ordering_key])
        self.events[event.event_id] = event
        return None

    async def get(self, event_id: str) -> Event | None:
        self._fail("get")
        return self.events.get(event_id)

    async def mark_published(self, event_ids: Sequence[str], at: datetime) -> None:
        self._fail("mark_published")
        for event_id in event_ids:
            event = self.events[event_id]
            self.events[event_id] = replace(event, published_at=event.published_at or at)

    async def unpublished(self, before: datetime, limit: int) -> list[Event]:
        self._fail("unpublished")
        found = [
            event
            for event in self.events.values()
            if event.published_at is None and event.accepted_at < before
        ]
        return sorted(found, key=lambda event: event.accepted_at)[:limit]

    async def chain(self, correlation_id: str, limit: int, cursor: str | None) -> EventPage:
        self._fail("chain")
        after = int(decode_cursor(cursor, correlation_id)) if cursor else 0
        found = [e for e in self.events.values() if e.correlation_id == correlation_id]
        found.sort(key=lambda event: event.accepted_at)
        more = after + limit < len(found)
        following = encode_cursor(str(after + limit), correlation_id) if more else None
        return EventPage(found[after : after + limit], following)

    def _fail(self, method: str) -> None:
        if method in self.failing:
            raise StoreUnavailableError(retry_after=1)


class MemoryBus:
    """`ports.Bus`: what it took, in order; it refuses events of the ids in `refusing`, or all."""

    def __init__(self) -> None:
        self.taken: list[Envelope] = []
        self.refusing: set[str] = set()
        self.down = False

    async def put(self, envelopes: Sequence[Envelope]) -> list[int]:
        left = []
        for position, envelope in enumerate(envelopes):
            if self.down or envelope.id in self.refusing:
                left.append(position)
            else:
                self.taken.append(envelope)
        return left

    @property
    def ids(self) -> list[str]:
        return [envelope.id for envelope in self.taken]


class MemoryLife:
    """`life.LifeStore`."""

    def __init__(self) -> None:
        self.moments: dict[str, dict[str, Moment]] = {}

    async def append(self, moments: Any) -> None:
        for event_id, told in moments.items():
            self.moments.setdefault(event_id, {}).update({one.key: one for one in told})

    async def of(self, event_id: str) -> list[Moment]:
        return sorted(self.moments.get(event_id, {}).values(), key=lambda one: (one.at, one.key))


class MemoryMetrics:
    """`metrics.Metrics`."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    async def put(self, values: Any) -> None:
        self.values |= values


class MessageService:
    """Both apps over one store."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store: Any = MemoryEvents()
        self.bus: Any = MemoryBus()
        self.life = MemoryLife()
        self.schemas = EventSchemas()
        self.letters = MemoryLetters()
        self.redrives = MemoryRedrives(self.clock)
        self.tasks = MemoryTasks()
        self.replays = MemoryReplays()
        self.archive = MemoryArchive()
        self.consumers = MemoryConsumers()
        self.queues = MemoryQueues()
        self.trail = MemoryTrail()
        self.assemble()

    def assemble(self) -> None:
        """Again, after a part was replaced."""
        publishing = Publishing(self.store, self.bus, self.schemas, self.clock)
        deliveries = DeliveryService(
            self.life, self.letters, self.store, self.consumers, self.clock
        )
        self.publish_app = create_publish_app(
            only(Publish, events=publishing, deliveries=deliveries)
        )
        reader = EventReader(self.store, self.life)
        operations = Operations(AuditTrail(self.trail, self.clock))
        self.control_app = create_control_app(
            only(
                Control,
                service_name="message-queue-service",
                checks={},
                events=reader,
                letters=DeadLetterService(
                    self.letters, self.life, self.redrives, self.tasks, operations, self.clock
                ),
                replays=ReplayService(
                    self.replays, self.archive, operations, self.clock, timedelta(days=30)
                ),
                streams=StreamService(self.queues, self.letters, self.consumers),
            )
        )

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: bytes | None = None,
        role: str | None = ROLE,
        **headers: str,
    ) -> httpx.Response:
        """Calls the function that serves the path, under a role."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            sent.setdefault("content-type", "application/json")
        context: dict[str, Any] = {"requestId": "gateway-1"}
        if role:
            context["identity"] = {"userArn": f"{role}/session"}
        published = method == "POST" and path.split("/")[3] in {"events", "deliveries"}
        app: Any = self.publish_app if published else self.control_app

        async def gateway(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "aws.event": {"requestContext": context}}, receive, send)

        transport = httpx.ASGITransport(app=gateway)
        async with httpx.AsyncClient(transport=transport, base_url="http://messaging") as client:
            return await client.request(method, path, content=content, headers=sent)
