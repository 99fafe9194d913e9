"""What webhooks need of the table, the queues and the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from functions.messaging.domain.subscriptions import Disabled, Subscription, SubscriptionPage
from functions.messaging.domain.webhook_deliveries import (
    Attempt,
    Delivery,
    DeliveryKey,
    DeliveryPage,
)
from functions.messaging.domain.webhook_signing import Secrets
from servicekit.idempotency import ClaimUpdate

MAX_DELAY_SECONDS = 900
"""Of a message, as SQS has it."""

Outcome = Literal["delivered", "failed", "dead"]
"""Of an attempt, for the health of its endpoint; `dead` is a failure that was the last."""


class SubscriptionReader(Protocol):
    """Whose business it is which subscriptions there are."""

    async def all(self) -> list[Subscription]:
        """All of them. Raises `StoreUnavailableError`, as every method of these ports may."""


class SubscriptionStore(SubscriptionReader, Protocol):
    """Subscriptions and their secrets. Every write is conditional."""

    async def create(
        self, subscription: Subscription, secrets: Secrets, update: ClaimUpdate | None
    ) -> None:
        """Stores a new one together with what is said of its idempotency key."""

    async def get(self, subscription_id: str) -> Subscription | None:
        """The subscription; consistent."""

    async def count(self) -> int:
        """How many there are."""

    async def page(self, limit: int, cursor: str | None) -> SubscriptionPage:
        """Some of them, oldest first. Raises `InvalidCursorError`."""

    async def replace(self, subscription: Subscription) -> bool:
        """Stores it in the place of the version before its own; False if that is not stored."""

    async def remove(self, subscription_id: str) -> bool:
        """Removes it and its secrets; False if it is not there."""

    async def secrets(self, subscription_id: str) -> Secrets | None:
        """What its events are signed with; consistent."""

    async def rotate(
        self,
        subscription_id: str,
        before: Secrets,
        after: Secrets,
        update: ClaimUpdate | None = None,
    ) -> bool:
        """Changes the secrets, together with what is said of the idempotency key; False if they are
        not those of before.
        """

    async def mark_announced(self, subscription: Subscription) -> None:
        """That it is disabled was told; may be repeated."""


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A delivery that the sweep finds; `due_at` is the very text that it was found by."""

    delivery: Delivery
    due_at: str


@dataclass(frozen=True, slots=True)
class Due:
    """What is due in a shard: deliveries, and subscriptions whose disabling is not told."""

    deliveries: Sequence[DueDelivery]
    disabled: Sequence[Subscription]


class DeliveryStore(Protocol):
    """Deliveries. `due_at` is when a sweep finds one whose message did not come; None is never."""

    async def create(self, delivery: Delivery, due_at: datetime) -> bool:
        """Stores a new one; False if there is one already."""

    async def get(self, key: DeliveryKey) -> Delivery | None:
        """The delivery; consistent."""

    async def lease(self, delivery: Delivery, token: str, now: datetime, until: datetime) -> bool:
        """Takes the delivery for an attempt; False if another has it, or it is not any more as it
        was read. The sweep finds it once the lease is over.
        """

    async def record(
        self, delivery: Delivery, attempt: Attempt, token: str, due_at: datetime | None
    ) -> bool:
        """Stores the delivery as it is after an attempt, and the attempt, and ends the lease; False
        if the lease was lost.
        """

    async def give_up(self, delivery: Delivery, error: str, due_at: datetime) -> bool:
        """Makes a pending one that nobody has leased dying; False if it is not as it was read."""

    async def finish(self, delivery: Delivery) -> None:
        """Makes a dying one dead; may be repeated."""

    async def rearm(self, delivery: Delivery, redrive_id: str, due_at: datetime) -> bool:
        """Makes a dead one pending as `delivery` has it; False if it is not dead."""

    async def of_event(self, event_id: str, subscription_id: str) -> list[tuple[Delivery, str]]:
        """The event's deliveries to the subscription, each with the redrive that it is of (or an
        empty text).
        """

    async def page(self, subscription_id: str, limit: int, cursor: str | None) -> DeliveryPage:
        """A subscription's deliveries, newest first. Raises `InvalidCursorError`."""


class DueStore(Protocol):
    """What the sweep reads."""

    async def due(self, shard: int, now: datetime, limit: int) -> Due:
        """What was due before, oldest first."""

    async def postpone(self, found: DueDelivery, until: datetime) -> None:
        """Has it found then, unless it was moved meanwhile."""


@dataclass(frozen=True, slots=True)
class Health:
    """Of an endpoint: since when every attempt failed, and how many events were given up since."""

    failing_since: datetime | None
    dead: int


class EndpointStore(Protocol):
    """What is known of a subscription's endpoint: who is calling it, and how it did."""

    async def take(self, subscription_id: str, limit: int, holder: str, until: datetime) -> bool:
        """Takes one of `limit` slots; False if none is free."""

    async def release(
        self, subscription_id: str, holder: str, outcome: Outcome | None, now: datetime
    ) -> Health:
        """Gives the slot back, and counts how the attempt ended, if there was one."""

    async def forget(self, subscription_id: str) -> None:
        """How it did does not count any more."""


@dataclass(frozen=True, slots=True)
class DeliveryMessage:
    """A delivery is due."""

    key: DeliveryKey
    delay_seconds: int = 0


@dataclass(frozen=True, slots=True)
class OrderedMessage:
    """Something is to be done for a key of an ordered subscription; `event_id` says what for.

    SQS drops a second message with the same `repetition` within five minutes.
    """

    subscription_id: str
    ordering_key: str
    event_id: str
    repetition: str = ""


class DeliveryQueue(Protocol):
    """The queues of the worker. Raises `QueueUnavailableError` when a message was not taken."""

    async def send(self, messages: Sequence[DeliveryMessage]) -> None:
        """To the queue without an order."""

    async def send_ordered(self, messages: Sequence[OrderedMessage]) -> None:
        """To the queue that gives out one message of a subscription's key at a time."""


class MessageHolder(Protocol):
    """A message that was given out and is not done."""

    async def hide(self, seconds: int) -> None:
        """Gives it out again in so many seconds. Raises `QueueUnavailableError`."""


@dataclass(frozen=True, slots=True)
class KeyedEvent:
    """An entry in the log of an ordering key."""

    sequence: int
    event_id: str
    event_type: str
    accepted_at: datetime


class KeyLog(Protocol):
    """The events of each ordering key, in the order of their acceptance."""

    async def after(self, ordering_key: str, sequence: int, limit: int) -> list[KeyedEvent]:
        """Entries beyond one, in order; consistent."""


class Cursors(Protocol):
    """How far each subscription has come in the log of each key."""

    async def position(self, subscription_id: str, ordering_key: str) -> int:
        """The last sequence that is done with; 0 at first."""

    async def advance(
        self, subscription_id: str, ordering_key: str, before: int, after: int
    ) -> bool:
        """False if it is not where it was."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a request. Without an `error` the endpoint took the event."""

    latency_ms: int
    status: int | None = None
    error: str | None = None
    answer: str = ""
    retry_after: float | None = None


class Endpoints(Protocol):
    """The network, behind its wall."""

    async def check(self, url: str) -> None:
        """Raises `RefusedUrlError` for what nothing would be posted to."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """One request, with a deadline. Whatever goes wrong is in the answer."""


class Announcer(Protocol):
    """Who publishes that a subscription was disabled."""

    async def announce(self, subscription: Subscription, disabled: Disabled) -> None:
        """Publishes `webhook.subscription.disabled` under the same id however often it is called.

        Raises `AnnouncementFailedError`.
        """
