"""What the service needs of its table and of the bus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from contracts.messaging.envelope import Envelope
from functions.messaging.domain.events import Event


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in the order of their acceptance."""

    events: Sequence[Event]
    next_cursor: str | None


class EventStore(Protocol):
    """Events by their id. Every method raises `StoreUnavailableError`."""

    async def accept(self, event: Event) -> Event | None:
        """Stores the event in one conditional write; it is unpublished from then on.

        With an ordering key that write draws the key's next sequence too, without gaps. Returns
        None, or the event that has the id already.
        """

    async def get(self, event_id: str) -> Event | None:
        """The event, or None; consistent."""

    async def mark_published(self, event_ids: Sequence[str], at: datetime) -> None:
        """Takes them from what the sweep finds; may be repeated."""

    async def unpublished(self, before: datetime, limit: int) -> list[Event]:
        """Events accepted before that time that the bus may not have, oldest first."""

    async def chain(self, correlation_id: str, limit: int, cursor: str | None) -> EventPage:
        """A page of all events of one correlation id. Raises `InvalidCursorError`."""


class Bus(Protocol):
    """The environment's event bus."""

    async def put(self, envelopes: Sequence[Envelope]) -> list[int]:
        """Puts any number of events within the limits of AWS, those refused again and again.

        Returns the positions of the ones that the bus still has not.
        """


class Envelopes(Protocol):
    """Accepted events, as consumers get them."""

    async def envelope(self, event_id: str) -> Envelope | None:
        """The event, or None when it has expired; consistent. Raises `StoreUnavailableError`."""


class Schemas(Protocol):
    """The schemas of the types of events."""

    def path_of(self, event_type: str) -> str | None:
        """Where the type's schema is among the contracts, or None for a type without one."""

    def check(self, event_type: str, payload: Mapping[str, Any]) -> None:
        """Raises `InvalidRequestError` with each field of the payload that breaks the schema."""
