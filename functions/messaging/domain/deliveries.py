"""Attempts of consumers, as they report them: they become part of their events' lives."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from contracts.messaging.streams import ALL_STREAMS, DEFAULT_STREAM, stream_of
from functions.messaging.domain.dead_letters import DeadLetter, DeadLetterBox
from functions.messaging.domain.deliveries_errors import NotYourConsumerError
from functions.messaging.domain.events import Event
from functions.messaging.domain.life import LifeStore, Moment
from functions.messaging.domain.ports import EventStore
from servicekit.clock import Clock

Outcome = Literal["done", "failed", "dead", "duplicate"]

UNKNOWN_TYPE = "unknown"
"""Of what was no event."""

NO_TENANT = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt of one consumer with one event; `attempt` counts from 1, 0 stands for none."""

    event_id: str
    consumer: str
    attempt: int
    outcome: Outcome
    started_at: datetime
    duration_ms: int = 0
    error: str | None = None
    event_type: str | None = None
    tenant: str | None = None
    replay_id: str | None = None
    delivery_id: str | None = None

    @property
    def stream(self) -> str | None:
        """Where the event belongs, as far as the report tells."""
        if self.consumer in ALL_STREAMS:
            return self.consumer
        return stream_of(self.event_type) if self.event_type else None

    def moments(self) -> list[Moment]:
        """What it is in the event's life. Told again, it has the same keys."""
        suffix = f"#{self.replay_id}" if self.replay_id else ""
        key = f"ATTEMPT#{self.consumer}#{self.attempt:06}{suffix}"
        details: dict[str, str | int | None] = {"outcome": self.outcome}
        optional = {"error": self.error, "replay_id": self.replay_id}
        details |= {name: value for name, value in optional.items() if value is not None}
        if self.outcome in {"done", "failed"}:
            details["duration_ms"] = self.duration_ms
        else:
            # Beside the attempt that it speaks of, not in its place.
            key = f"{key}#{self.outcome}#{self.delivery_id or ''}"
        moment = Moment(
            key=key,
            kind="dead" if self.outcome == "dead" else "attempted",
            at=self.started_at,
            consumer=self.consumer,
            attempt=self.attempt,
            details=details,
        )
        if not self.replay_id:
            return [moment]
        replayed = Moment(
            key=f"REPLAYED#{self.replay_id}#{self.consumer}",
            kind="replayed",
            at=self.started_at,
            consumer=self.consumer,
            details={"replay_id": self.replay_id},
        )
        return [moment, replayed] if self.attempt <= 1 else [moment]


@dataclass(frozen=True, slots=True)
class KnownConsumer:
    """A consumer that reported attempts with events of a stream."""

    stream: str
    name: str
    last_seen_at: datetime


class ConsumerRegistry(Protocol):
    """Who consumes what, by what was reported."""

    async def seen(self, consumers: Sequence[KnownConsumer]) -> None:
        """Notes them; may be repeated, and need not be noted each time."""

    async def all(self) -> list[KnownConsumer]:
        """All that are known."""


class DeliveryService:
    """Takes reports."""

    def __init__(
        self,
        life: LifeStore,
        letters: DeadLetterBox,
        events: EventStore,
        consumers: ConsumerRegistry,
        clock: Clock,
    ) -> None:
        self._life = life
        self._letters = letters
        self._events = events
        self._consumers = consumers
        self._clock = clock

    async def record_for(
        self, service: str, deliveries: Sequence[Delivery]
    ) -> list[NotYourConsumerError | None]:
        """Takes what is of the service's own consumers; one result for each, None for taken.

        Raises `StoreUnavailableError`, upon which all may be told again.
        """
        prefix = f"{service}-"
        mine = [one for one in deliveries if one.consumer.startswith(prefix)]
        if mine:
            await self.record(mine)
        return [
            None
            if one.consumer.startswith(prefix)
            else NotYourConsumerError(f"The name of a consumer of {service} begins with {prefix}")
            for one in deliveries
        ]

    async def record(self, deliveries: Sequence[Delivery]) -> None:
        """Takes them all; may be repeated. Raises `StoreUnavailableError`."""
        moments: dict[str, list[Moment]] = {}
        for one in deliveries:
            moments.setdefault(one.event_id, []).extend(one.moments())
        await self._life.append(moments)
        events = await self._events_of(deliveries)
        for one in deliveries:
            if one.outcome == "dead":
                await self._letters.add(self._letter(one, events.get(one.event_id)))
        now = self._clock()
        seen = {(_stream(one, events.get(one.event_id)), one.consumer) for one in deliveries}
        await self._consumers.seen(
            [KnownConsumer(stream, name, now) for stream, name in sorted(seen)]
        )

    async def _events_of(self, deliveries: Sequence[Delivery]) -> dict[str, Event]:
        """Those events that more must be known of than the reports tell."""
        wanted = {one.event_id for one in deliveries if one.outcome == "dead" or one.stream is None}
        found = await asyncio.gather(*(self._events.get(event_id) for event_id in sorted(wanted)))
        return {event.event_id: event for event in found if event is not None}

    def _letter(self, one: Delivery, event: Event | None) -> DeadLetter:
        return DeadLetter(
            event_id=one.event_id,
            event_type=event.event_type if event else one.event_type or UNKNOWN_TYPE,
            tenant=event.tenant if event else one.tenant or NO_TENANT,
            stream=_stream(one, event),
            consumer=one.consumer,
            error=one.error or "unknown",
            attempts=one.attempt,
            # By this service's clock: a redrive takes what had died before it was asked for.
            died_at=self._clock(),
            delivery_id=one.delivery_id or "",
        )


def _stream(one: Delivery, event: Event | None) -> str:
    if event is not None and one.consumer not in ALL_STREAMS:
        return event.stream
    return one.stream or DEFAULT_STREAM
