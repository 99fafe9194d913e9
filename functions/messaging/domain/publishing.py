"""Events are accepted, which makes them safe, and then put on the bus."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from contracts.messaging.envelope import SOURCE_PREFIX
from contracts.messaging.publishing import MAX_EVENT_BYTES
from functions.messaging.domain.envelopes import entry_bytes, envelope_of
from functions.messaging.domain.event_errors import EventConflictError, EventTooLargeError
from functions.messaging.domain.events import Event
from functions.messaging.domain.ports import Bus, EventStore, Schemas
from servicekit.clock import Clock
from servicekit.errors import AppError, InternalError, StoreUnavailableError
from servicekit.ids import new_ulid

NO_TENANT = "none"

_ROLE_OF_SERVICE = re.compile(r"santaclaude-(?:local|dev|staging|prod)-([a-z0-9]+)-.+")
_KEYS = uuid5(NAMESPACE_URL, "santaclaude:messaging:idempotency-key")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event as its publisher sent it; `fingerprint` is of the whole of that."""

    event_id: str
    event_type: str
    payload: Mapping[str, Any]
    source: str
    fingerprint: str
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    request_id: str | None = None
    user_id: int | None = None
    ordering_key: str | None = None
    occurred_at: datetime | None = None
    retry_count: int = 0


Outcome = Event | AppError
"""The event as it is stored, now or since before; or why it is not."""


def source_of(principal: str) -> str:
    """Who publishes, from the role: `santaclaude.<service>`, of another role its name."""
    name = principal.rpartition("/")[2]
    service = _ROLE_OF_SERVICE.fullmatch(name)
    return f"{SOURCE_PREFIX}{service.group(1) if service else name}"


def choose_event_id(given: str | None, key: str | None, principal: str, index: int) -> str:
    """The publisher's id; else one that follows from the Idempotency-Key; else a new one."""
    if given is not None:
        return given
    if key is not None:
        return str(uuid5(_KEYS, json.dumps([principal, key, index])))
    return new_ulid()


class Publishing:
    """Accepts events and puts them on the bus.

    What is accepted is delivered: an event that the bus did not take, or that is not marked as
    taken, is found and put there again by the sweep. So acceptance alone decides the answer.
    """

    def __init__(self, store: EventStore, bus: Bus, schemas: Schemas, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._schemas = schemas
        self._clock = clock

    async def publish_one(self, event: NewEvent) -> Event:
        """The event as it is stored.

        Raises `InvalidRequestError`, `EventTooLargeError`, `EventConflictError` and
        `StoreUnavailableError`.
        """
        [outcome] = await self.publish([event])
        if isinstance(outcome, AppError):
            raise outcome
        return outcome

    async def publish(self, events: Sequence[NewEvent]) -> list[Outcome]:
        """What came of each event. Those of one ordering key are accepted in their order here."""
        outcomes: dict[int, Outcome] = {}
        lanes: dict[str, list[tuple[int, Event]]] = defaultdict(list)
        lane_of: dict[str, str] = {}
        for index, new in enumerate(events):
            try:
                event = self._made(new)
            except AppError as error:
                outcomes[index] = error
            else:
                # Of two with one id the second is the repetition, or the conflict.
                lane = lane_of.setdefault(event.event_id, _lane(event))
                lanes[lane].append((index, event))
        for accepted in await asyncio.gather(*(self._accept_lane(lane) for lane in lanes.values())):
            outcomes.update(accepted)
        stored = (outcome for outcome in outcomes.values() if isinstance(outcome, Event))
        # A repetition whose first one the bus may not have is put there like any other.
        pending = {event.event_id: event for event in stored if event.published_at is None}
        if pending:
            await put_on_bus(
                list(pending.values()), self._store, self._bus, self._schemas, self._clock
            )
        return [outcomes[index] for index in range(len(events))]

    async def _accept_lane(self, lane: Sequence[tuple[int, Event]]) -> dict[int, Outcome]:
        return {index: await self._accept(event) for index, event in lane}

    async def _accept(self, event: Event) -> Outcome:
        try:
            before = await self._store.accept(event)
        except AppError as error:
            return error
        except Exception:
            _logger.exception("an event was not accepted")
            return InternalError()
        if before is None:
            return event
        return before if before.fingerprint == event.fingerprint else EventConflictError()

    def _made(self, new: NewEvent) -> Event:
        """The event as it would be stored. Raises what is wrong with it."""
        self._schemas.check(new.event_type, new.payload)
        now = self._clock()
        event = Event(
            event_id=new.event_id,
            event_type=new.event_type,
            payload=json.dumps(new.payload, ensure_ascii=False, separators=(",", ":")),
            source=new.source,
            tenant=_tenant(new),
            correlation_id=new.correlation_id or new.event_id,
            causation_id=new.causation_id,
            traceparent=new.traceparent,
            request_id=new.request_id,
            user_id=new.user_id,
            ordering_key=new.ordering_key,
            occurred_at=new.occurred_at or now,
            accepted_at=now,
            fingerprint=new.fingerprint,
            retry_count=new.retry_count,
        )
        path = self._schemas.path_of(event.event_type)
        if entry_bytes(envelope_of(event, dataschema=path)) > MAX_EVENT_BYTES:
            raise EventTooLargeError(
                f"With its attributes it has more than {MAX_EVENT_BYTES} bytes."
            )
        return event


async def put_on_bus(
    events: Sequence[Event], store: EventStore, bus: Bus, schemas: Schemas, clock: Clock
) -> list[Event]:
    """Puts stored events on the bus and marks those that it took; returns the others.

    One that the bus took and that could not be marked is put there once more by the sweep, under
    the same id.
    """
    # Before the bus has them: what consumers tell of them comes later.
    at = clock()
    left = set(
        await bus.put(
            [envelope_of(event, dataschema=schemas.path_of(event.event_type)) for event in events]
        )
    )
    taken = [event.event_id for index, event in enumerate(events) if index not in left]
    if taken:
        try:
            await store.mark_published(taken, at)
        except StoreUnavailableError:
            _logger.warning("published events were not marked", extra={"events": len(taken)})
    return [event for index, event in enumerate(events) if index in left]


def _lane(event: Event) -> str:
    """Events of one lane are accepted one after another."""
    return f"id:{event.event_id}" if event.ordering_key is None else f"key:{event.ordering_key}"


def _tenant(new: NewEvent) -> str:
    project = new.payload.get("project_id")
    if _is_id(project):
        return f"project:{project}"
    user = new.user_id if new.user_id is not None else new.payload.get("user_id")
    return f"user:{user}" if _is_id(user) else NO_TENANT


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
