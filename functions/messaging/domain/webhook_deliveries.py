"""One event on its way to one subscription: its states, its attempts, and when they are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from functions.messaging.domain.life import Moment
from functions.messaging.domain.subscriptions import consumer_of

State = Literal["pending", "dying", "delivered", "dead"]
"""`dying` is given up, but not yet among the dead letters."""

SCHEDULE_SECONDS = (5, 30, 120, 900, 3600, 4 * 3600)
"""After each failure but the last: the seventh attempt is it."""

JITTER = 0.2
"""A pause is up to that much longer: endpoints that failed together are not called together."""

MAX_RETRY_AFTER_SECONDS = 4 * 3600
"""What an endpoint may ask for at most; it never shortens a pause."""

Jitter = Callable[[float, float], float]
"""A random number between two, as `random.uniform` makes it."""


@dataclass(frozen=True, slots=True)
class DeliveryKey:
    """What a delivery is told by: there is one for each event, subscription and replay."""

    event_id: str
    subscription_id: str
    replay_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The state of a delivery.

    `attempts` counts all of them, and `earlier` those of the rounds before the present one: each
    redrive begins a round, and `rounds` counts those. `ordering_key` is that of a delivery which
    waits for its turn.
    """

    key: DeliveryKey
    event_type: str
    tenant: str
    created_at: datetime
    next_attempt_at: datetime
    ordering_key: str | None = None
    state: State = "pending"
    attempts: int = 0
    earlier: int = 0
    rounds: int = 0
    error: str | None = None

    @property
    def open(self) -> bool:
        """Whether attempts are still to be made."""
        return self.state == "pending"

    def succeeded(self) -> Delivery:
        """After an attempt that the endpoint took."""
        return replace(self, attempts=self.attempts + 1, state="delivered", error=None)

    def failed(self, error: str, next_attempt_at: datetime | None) -> Delivery:
        """After an attempt that failed; without a next one it is given up."""
        return replace(
            self,
            attempts=self.attempts + 1,
            state="pending" if next_attempt_at else "dying",
            error=error,
            next_attempt_at=next_attempt_at or self.next_attempt_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request. `answer` is the beginning of what came back; it is never logged."""

    number: int
    at: datetime
    latency_ms: int
    status: int | None = None
    error: str | None = None
    answer: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class LoggedDelivery:
    """A delivery with its last attempts, in order."""

    delivery: Delivery
    log: Sequence[Attempt]


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Deliveries of a subscription, newest first."""

    deliveries: Sequence[LoggedDelivery]
    next_cursor: str | None


def next_attempt(
    delivery: Delivery, now: datetime, retry_after: float | None, jitter: Jitter
) -> datetime | None:
    """When to try again after a failure that is not counted yet; None after the last."""
    failures = delivery.attempts - delivery.earlier
    if failures >= len(SCHEDULE_SECONDS):
        return None
    pause = SCHEDULE_SECONDS[failures]
    asked = min(retry_after or 0, MAX_RETRY_AFTER_SECONDS)
    return now + timedelta(seconds=max(pause, asked) + jitter(0, pause * JITTER))


def attempt_moment(key: DeliveryKey, attempt: Attempt) -> Moment:
    """The attempt as part of the event's life; told again it is the same moment."""
    return Moment(
        key=f"webhook#{_name(key)}#{attempt.number:04}",
        kind="webhook_attempted",
        at=attempt.at,
        consumer=consumer_of(key.subscription_id),
        attempt=attempt.number,
        details={
            "outcome": "failed" if attempt.error else "delivered",
            "error": attempt.error,
            "status": attempt.status,
            "duration_ms": attempt.latency_ms,
            "replay_id": key.replay_id,
        },
    )


def death_moment(delivery: Delivery, at: datetime) -> Moment:
    """That the delivery was given up."""
    key = delivery.key
    return Moment(
        key=f"webhook#{death_id(delivery)}#dead",
        kind="dead",
        at=at,
        consumer=consumer_of(key.subscription_id),
        attempt=delivery.attempts,
        details={"error": delivery.error, "replay_id": key.replay_id},
    )


def death_id(delivery: Delivery) -> str:
    """What tells one death of a delivery from another: nobody may have tried it in between."""
    return f"{_name(delivery.key)}#{delivery.attempts:04}#{delivery.rounds:04}"


def _name(key: DeliveryKey) -> str:
    return f"{key.subscription_id}#{key.replay_id or ''}"
