"""What a consumer of events is made of: attempts, claims, and the ports of `consumer`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from servicekit.bus_event import BusEvent, Delivery

MAX_REPORTS = 100
"""Attempts of one report."""

INTERRUPTED = "interrupted"
"""The error of an attempt whose process ended before it did."""

Outcome = Literal["done", "failed", "dead", "duplicate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try with one event, numbered from 1 over all messages of the event.

    `error` is a code. A `duplicate` was not tried: attempt `attempt` had done it.
    """

    attempt: int
    outcome: Outcome
    started_at: datetime
    duration_ms: int
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An attempt, of which event by which consumer. `delivery_id` names the message."""

    event: BusEvent
    consumer: str
    delivery_id: str
    attempt: Attempt


class ReportFailedError(Exception):
    """The reports, or some of them, may not have arrived; they may be sent again."""


class Reporter(Protocol):
    """Where attempts are told."""

    async def report(self, reports: Sequence[Report]) -> None:
        """Tells at most `MAX_REPORTS`; may be repeated. Raises `ReportFailedError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to work on an event: attempt number `attempt`, after those in `history`."""

    consumer: str
    key: str
    token: str
    attempt: int
    message_id: str
    started_at: datetime
    history: Sequence[Attempt] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The event was worked on before, in the message `message_id`."""

    message_id: str
    history: Sequence[Attempt]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Another process works on the event, until then at the latest."""

    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """Nobody works on the event, after these attempts."""

    history: Sequence[Attempt] = ()


class Claims(Protocol):
    """Who works on what. Every method raises `StoreUnavailableError`."""

    async def take(self, consumer: str, key: str, message_id: str) -> Claim | Done | Held:
        """Claims the event, unless it is done or another's. A claim whose lease is over is taken
        over, and its attempt is told as `INTERRUPTED`.
        """

    async def finish(self, claim: Claim, attempt: Attempt, *, done: bool) -> bool:
        """Stores the attempt and lets go of the claim, for good when it is `done`.

        False when the claim was another's by then.
        """

    async def look(self, consumer: str, key: str) -> Free | Done | Held:
        """How it stands; consistent."""


class Visibility(Protocol):
    """When a message comes again."""

    async def hide(self, delivery: Delivery, seconds: int) -> None:
        """Brings the message again that much later."""


@dataclass(frozen=True, slots=True)
class Handling:
    """What a handler gets: the event, and the claim for its own transaction."""

    event: BusEvent
    consumer: str
    claim: Claim


Handler = Callable[[Handling], Awaitable[None]]
"""Does what the event is for. Whatever it raises sends the message back."""


class ReplayFilter(Protocol):
    """Whether an event that came out of the archive is for a consumer."""

    async def wants(self, event: BusEvent, consumer: str) -> bool:
        """Asked only for events with a `replay_id`."""


class NoReplays:
    """What consumers do that did not ask for replays."""

    async def wants(self, event: BusEvent, consumer: str) -> bool:  # noqa: ARG002
        """Never."""
        return False
