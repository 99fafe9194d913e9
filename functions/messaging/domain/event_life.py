"""An event and all that happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from functions.messaging.domain.event_errors import EventNotFoundError
from functions.messaging.domain.events import Event
from functions.messaging.domain.life import LifeStore, Moment
from functions.messaging.domain.ports import EventPage, EventStore

State = Literal["accepted", "published", "delivered", "failing", "dead"]

FAILED = "failed"
"""The `outcome` of an attempt that failed; one that has an `error` failed too."""

_ATTEMPTS = frozenset({"attempted", "webhook_attempted"})
# Of several consumers the one tells the event's state that has most need of somebody.
_BY_URGENCY: Sequence[State] = ("dead", "failing", "published", "delivered")


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeMoment:
    """A moment, or what the event itself tells: accepted, published, routed."""

    kind: str
    at: datetime
    consumer: str | None
    moment: Moment | None = None


@dataclass(frozen=True, slots=True)
class EventLife:
    """The event, its moments in the order of time, and what they come to."""

    event: Event
    moments: Sequence[LifeMoment]
    state: State


class EventReader:
    """Reads events, and what happened to them."""

    def __init__(self, store: EventStore, life: LifeStore) -> None:
        self._store = store
        self._life = life

    async def life(self, event_id: str) -> EventLife:
        """Raises `EventNotFoundError` and `StoreUnavailableError`."""
        event = await self._store.get(event_id)
        if event is None:
            raise EventNotFoundError
        told = await self._life.of(event_id)
        moments = [*_of_itself(event), *(_told(moment) for moment in told)]
        # Clocks of other services may be behind: what is told of the event comes after it.
        ordered = sorted(moments, key=lambda one: max(one.at, event.accepted_at))
        return EventLife(event, ordered, state_of(event, told))

    async def chain(self, correlation_id: str, limit: int, cursor: str | None) -> EventPage:
        """Raises `InvalidCursorError` and `StoreUnavailableError`."""
        return await self._store.chain(correlation_id, limit, cursor)


def state_of(event: Event, told: Sequence[Moment]) -> State:
    """From the newest moment of each consumer, in the order of time."""
    states: dict[str, State] = {}
    for moment in told:
        if moment.kind in _ATTEMPTS:
            states[moment.consumer] = "failing" if _failed(moment) else "delivered"
        elif moment.kind == "dead":
            states[moment.consumer] = "dead"
        elif moment.kind == "redriven":
            states[moment.consumer] = "published"
    if states:
        return next(state for state in _BY_URGENCY if state in states.values())
    return "published" if event.published_at else "accepted"


def _failed(moment: Moment) -> bool:
    return moment.details.get("outcome") == FAILED or moment.details.get("error") is not None


def _of_itself(event: Event) -> list[LifeMoment]:
    moments = [LifeMoment(kind="accepted", at=event.accepted_at, consumer=None)]
    if event.published_at:
        moments += [
            LifeMoment(kind="published", at=event.published_at, consumer=None),
            LifeMoment(kind="routed", at=event.published_at, consumer=event.stream),
        ]
    return moments


def _told(moment: Moment) -> LifeMoment:
    return LifeMoment(kind=moment.kind, at=moment.at, consumer=moment.consumer, moment=moment)
