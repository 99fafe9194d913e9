"""What happened to an event after it was accepted: one moment after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

Kind = Literal[
    "attempted",  # a consumer handled it, or failed to
    "webhook_attempted",  # a subscription's endpoint was called
    "dead",  # given up: it lies among the dead letters
    "redriven",  # taken from the dead letters and sent again
    "replayed",  # came out of the archive again
]
"""Acceptance, publication and routing are told by the event itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened; told again under the same `key`, it is the same moment.

    `consumer` is the name of a stream, of another service's consumer, or `subscription:<id>`.
    `details` hold codes, numbers and ids, never content: `outcome`, `error`, `duration_ms`,
    `status`, `redrive_id` and the like.
    """

    key: str
    kind: Kind
    at: datetime
    consumer: str
    attempt: int | None = None
    details: Mapping[str, str | int | None] = field(default_factory=dict)


class LifeStore(Protocol):
    """Where moments are kept: as long as their event."""

    async def append(self, moments: Mapping[str, Sequence[Moment]]) -> None:
        """Adds moments by event id; may be repeated. An unknown event's moments are kept too: the
        report of an attempt may overtake nothing, but it may outlive what it reports on.
        """

    async def of(self, event_id: str) -> list[Moment]:
        """All moments of an event, in the order of time."""
