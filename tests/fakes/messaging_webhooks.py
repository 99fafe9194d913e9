"""Webhooks in memory: the ports of their domain, a clock that is set, all of it together."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from contracts.messaging.envelope import Envelope
from functions.messaging.domain.dead_letters import DeadLetter
from functions.messaging.domain.envelopes import envelope_of
from functions.messaging.domain.events import Event
from functions.messaging.domain.life import Moment
from functions.messaging.domain.queue_errors import QueueUnavailableError
from functions.messaging.domain.subscription_service import (
    NewSubscription,
    SubscriptionService,
    WebhookStores,
)
from functions.messaging.domain.subscriptions import Subscription, SubscriptionPage
from functions.messaging.domain.webhook_announcements import Announcement, Announcements
from functions.messaging.domain.webhook_attempts import Attempts, AttemptStores
from functions.messaging.domain.webhook_audit import SubscriptionAudit
from functions.messaging.domain.webhook_deliveries import (
    Attempt,
    Delivery,
    DeliveryKey,
    DeliveryPage,
    LoggedDelivery,
)
from functions.messaging.domain.webhook_disabling import Disabler, Limits, Telling
from functions.messaging.domain.webhook_fanout import SubscriptionCache, WebhookFanout
from functions.messaging.domain.webhook_order import KeyBlockedError, OrderedWorker, OrderStores
from functions.messaging.domain.webhook_ports import (
    Answered,
    DeliveryMessage,
    Due,
    DueDelivery,
    Health,
    KeyedEvent,
    OrderedMessage,
    Outcome,
)
from functions.messaging.domain.webhook_redeliveries import WebhookRedeliveries
from functions.messaging.domain.webhook_requests import WebhookRequests
from functions.messaging.domain.webhook_signing import Secrets
from functions.messaging.domain.webhook_sweep import DueSweep
from functions.messaging.domain.webhook_worker import DeliveryWorker
from servicekit.audit import AuditTrail
from servicekit.clock import to_text
from servicekit.errors import StoreUnavailableError
from servicekit.idempotency import ClaimUpdate, Idempotency
from tests.fakes.memory import MemoryOutbox, MemoryRecords

START = datetime(2026, 11, 30, 8, tzinfo=UTC)


class SetClock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class MemorySubscriptions:
    """`webhook_ports.SubscriptionStore`."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records
        self.stored: dict[str, Subscription] = {}
        self.kept_secrets: dict[str, Secrets] = {}
        self.reads = 0

    async def create(
        self, subscription: Subscription, secrets: Secrets, update: ClaimUpdate | None
    ) -> None:
        if update is not None:
            self._records.settle(update)
        self.stored[subscription.subscription_id] = subscription
        self.kept_secrets[subscription.subscription_id] = secrets

    async def get(self, subscription_id: str) -> Subscription | None:
        return self.stored.get(subscription_id)

    async def all(self) -> list[Subscription]:
        self.reads += 1
        return list(self.stored.values())

    async def count(self) -> int:
        return len(self.stored)

    async def page(self, limit: int, cursor: str | None) -> SubscriptionPage:
        ids = sorted(one for one in self.stored if one > (cursor or ""))
        more = ids[limit - 1] if len(ids) > limit else None
        return SubscriptionPage([self.stored[one] for one in ids[:limit]], more)

    async def replace(self, subscription: Subscription) -> bool:
        present = self.stored.get(subscription.subscription_id)
        if present is None or present.version != subscription.version - 1:
            return False
        self.stored[subscription.subscription_id] = subscription
        return True

    async def remove(self, subscription_id: str) -> bool:
        self.kept_secrets.pop(subscription_id, None)
        return self.stored.pop(subscription_id, None) is not None

    async def secrets(self, subscription_id: str) -> Secrets | None:
        return self.kept_secrets.get(subscription_id)

    async def rotate(
        self,
        subscription_id: str,
        before: Secrets,
        after: Secrets,
        update: ClaimUpdate | None = None,
    ) -> bool:
        if self.kept_secrets.get(subscription_id) != before:
            return False
        if update is not None:
            self._records.settle(update)
        self.kept_secrets[subscription_id] = after
        return True

    async def mark_announced(self, subscription: Subscription) -> None:
        present = self.stored.get(subscription.subscription_id)
        if present is not None and present.version == subscription.version:
            self.stored[present.subscription_id] = replace(present, announced=True)


@dataclass
class _Kept:
    delivery: Delivery
    due_at: datetime | None
    token: str | None = None
    until: datetime | None = None
    redrive_id: str = ""
    log: list[Attempt] = field(default_factory=list)


class MemoryDeliveries:
    """`webhook_ports.DeliveryStore` and `webhook_ports.DueStore`."""

    def __init__(self, subscriptions: MemorySubscriptions) -> None:
        self._subscriptions = subscriptions
        self.kept: dict[DeliveryKey, _Kept] = {}

    async def create(self, delivery: Delivery, due_at: datetime) -> bool:
        if delivery.key in self.kept:
            return False
        self.kept[delivery.key] = _Kept(delivery, due_at)
        return True

    async def get(self, key: DeliveryKey) -> Delivery | None:
        kept = self.kept.get(key)
        return kept.delivery if kept else None

    async def lease(self, delivery: Delivery, token: str, now: datetime, until: datetime) -> bool:
        kept = self.kept[delivery.key]
        if not self._free(kept, delivery, now):
            return False
        kept.token, kept.until, kept.due_at = token, until, until
        return True

    async def record(
        self, delivery: Delivery, attempt: Attempt, token: str, due_at: datetime | None
    ) -> bool:
        kept = self.kept[delivery.key]
        if kept.token != token:
            return False
        kept.log.append(attempt)
        kept.delivery, kept.due_at, kept.token, kept.until = delivery, due_at, None, None
        return True

    async def give_up(self, delivery: Delivery, error: str, due_at: datetime) -> bool:
        kept = self.kept[delivery.key]
        if not self._free(kept, delivery, due_at):
            return False
        kept.delivery = replace(kept.delivery, state="dying", error=error)
        kept.due_at, kept.token, kept.until = due_at, None, None
        return True

    async def finish(self, delivery: Delivery) -> None:
        kept = self.kept[delivery.key]
        if kept.delivery.state == "dying":
            kept.delivery, kept.due_at = replace(kept.delivery, state="dead"), None

    async def rearm(self, delivery: Delivery, redrive_id: str, due_at: datetime) -> bool:
        kept = self.kept[delivery.key]
        if kept.delivery.state != "dead" or kept.delivery.attempts != delivery.attempts:
            return False
        kept.delivery, kept.due_at, kept.redrive_id = delivery, due_at, redrive_id
        return True

    async def of_event(self, event_id: str, subscription_id: str) -> list[tuple[Delivery, str]]:
        return [
            (kept.delivery, kept.redrive_id)
            for key, kept in self.kept.items()
            if (key.event_id, key.subscription_id) == (event_id, subscription_id)
        ]

    async def page(self, subscription_id: str, limit: int, cursor: str | None) -> DeliveryPage:
        found = [
            LoggedDelivery(kept.delivery, kept.log[-10:])
            for key, kept in self.kept.items()
            if key.subscription_id == subscription_id
        ]
        found.sort(key=lambda one: one.delivery.created_at, reverse=True)
        start = int(cursor or 0)
        more = str(start + limit) if len(found) > start + limit else None
        return DeliveryPage(found[start : start + limit], more)

    async def due(self, shard: int, now: datetime, limit: int) -> Due:
        if shard:
            return Due([], [])
        found = [
            DueDelivery(kept.delivery, to_text(kept.due_at))
            for kept in self.kept.values()
            if kept.due_at is not None and kept.due_at <= now
        ]
        untold = [one for one in self._subscriptions.stored.values() if not one.announced]
        return Due(found[:limit], untold)

    async def postpone(self, found: DueDelivery, until: datetime) -> None:
        kept = self.kept[found.delivery.key]
        if kept.due_at is not None and to_text(kept.due_at) == found.due_at:
            kept.due_at = until

    @staticmethod
    def _free(kept: _Kept, delivery: Delivery, now: datetime) -> bool:
        leased = kept.until is not None and kept.until > now
        same = kept.delivery.attempts == delivery.attempts
        return kept.delivery.open and same and not leased


class MemoryEndpoints:
    """`webhook_ports.EndpointStore`."""

    def __init__(self, clock: SetClock) -> None:
        self._clock = clock
        self.slots: dict[str, dict[str, datetime]] = {}
        self.health: dict[str, Health] = {}

    async def take(self, subscription_id: str, limit: int, holder: str, until: datetime) -> bool:
        slots = self.slots.setdefault(subscription_id, {})
        for one in [one for one, end in slots.items() if end <= self._clock()]:
            del slots[one]
        if len(slots) >= limit:
            return False
        slots[holder] = until
        return True

    async def release(
        self, subscription_id: str, holder: str, outcome: Outcome | None, now: datetime
    ) -> Health:
        self.slots[subscription_id].pop(holder, None)
        before = self.health.get(subscription_id, Health(None, 0))
        if outcome == "delivered":
            before = Health(None, 0)
        elif outcome is not None:
            dead = before.dead + (outcome == "dead")
            before = Health(before.failing_since or now, dead)
        self.health[subscription_id] = before
        return before

    async def forget(self, subscription_id: str) -> None:
        self.health.pop(subscription_id, None)


class MemoryQueue:
    """`webhook_ports.DeliveryQueue`: keeps what is sent until a test takes it."""

    def __init__(self) -> None:
        self.plain: list[DeliveryMessage] = []
        self.ordered: list[OrderedMessage] = []
        self.failing = False

    async def send(self, messages: Sequence[DeliveryMessage]) -> None:
        self._check()
        self.plain += messages

    async def send_ordered(self, messages: Sequence[OrderedMessage]) -> None:
        self._check()
        self.ordered += messages

    def _check(self) -> None:
        if self.failing:
            raise QueueUnavailableError(retry_after=1)


class Holder:
    """`webhook_ports.MessageHolder`."""

    def __init__(self) -> None:
        self.hidden: list[int] = []

    async def hide(self, seconds: int) -> None:
        self.hidden.append(seconds)


class MemoryLife:
    """`life.LifeStore`."""

    def __init__(self) -> None:
        self.moments: dict[tuple[str, str], Moment] = {}
        self.failing = False

    async def append(self, moments: Mapping[str, Sequence[Moment]]) -> None:
        if self.failing:
            raise StoreUnavailableError(retry_after=1)
        for event_id, told in moments.items():
            self.moments |= {(event_id, moment.key): moment for moment in told}

    async def of(self, event_id: str) -> list[Moment]:
        return [moment for (one, _), moment in self.moments.items() if one == event_id]


class MemoryLetters:
    """`dead_letters.DeadLetterBox`."""

    def __init__(self) -> None:
        self.letters: dict[tuple[str, str], DeadLetter] = {}
        self.failing = False

    async def add(self, letter: DeadLetter) -> None:
        if self.failing:
            raise StoreUnavailableError(retry_after=1)
        self.letters[letter.event_id, letter.consumer] = letter


class MemoryEvents:
    """`ports.Envelopes` and `webhook_ports.KeyLog`."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.logs: dict[str, list[KeyedEvent]] = {}

    def put(self, event: Event) -> None:
        self.events[event.event_id] = event
        if event.ordering_key is not None:
            log = self.logs.setdefault(event.ordering_key, [])
            entry = KeyedEvent(len(log) + 1, event.event_id, event.event_type, event.accepted_at)
            log.append(entry)

    async def envelope(self, event_id: str) -> Envelope | None:
        event = self.events.get(event_id)
        return envelope_of(event) if event else None

    async def after(self, ordering_key: str, sequence: int, limit: int) -> list[KeyedEvent]:
        log = self.logs.get(ordering_key, [])
        return [entry for entry in log if entry.sequence > sequence][:limit]


class MemoryCursors:
    """`webhook_ports.Cursors`."""

    def __init__(self) -> None:
        self.positions: dict[tuple[str, str], int] = {}

    async def position(self, subscription_id: str, ordering_key: str) -> int:
        return self.positions.get((subscription_id, ordering_key), 0)

    async def advance(
        self, subscription_id: str, ordering_key: str, before: int, after: int
    ) -> bool:
        if self.positions.get((subscription_id, ordering_key), 0) != before:
            return False
        self.positions[subscription_id, ordering_key] = after
        return True


class Posted(NamedTuple):
    url: str
    headers: Mapping[str, str]
    body: bytes


class ScriptedEndpoints:
    """`webhook_ports.Endpoints`: answers with the next of `script`, with its last from then on."""

    def __init__(self) -> None:
        self.script: list[Answered | BaseException] = [Answered(3, 204)]
        self.posted: list[Posted] = []
        self.refused: Exception | None = None
        self.while_posting: Any = None

    @property
    def ids(self) -> list[str]:
        return [posted.headers["webhook-id"] for posted in self.posted]

    def fails(self, status: int = 503, **fields: Any) -> None:
        self.script = [Answered(3, status, f"status_{status}", **fields)]

    def works(self) -> None:
        self.script = [Answered(3, 204)]

    async def check(self, url: str) -> None:
        if self.refused is not None:
            raise self.refused

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        self.posted.append(Posted(url, headers, body))
        if self.while_posting is not None:
            await self.while_posting()
        answered = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answered, BaseException):
            raise answered
        return answered


@dataclass
class Stores:
    """Where things are kept."""

    subscriptions: Any
    deliveries: Any
    endpoints: Any
    events: Any
    log: Any
    cursors: Any
    life: Any
    put: Any


def memory_stores(clock: SetClock, records: MemoryRecords) -> Stores:
    subscriptions = MemorySubscriptions(records)
    events = MemoryEvents()

    async def put(event: Event) -> None:
        events.put(event)

    return Stores(
        subscriptions,
        MemoryDeliveries(subscriptions),
        MemoryEndpoints(clock),
        events,
        events,
        MemoryCursors(),
        MemoryLife(),
        put,
    )


def no_jitter(least: float, _most: float) -> float:
    return least


class Webhooks:
    """All of webhooks over some stores, without a network."""

    def __init__(self, stores: Stores | None = None, clock: SetClock | None = None) -> None:
        self.clock = clock or SetClock()
        self.records = MemoryRecords()
        self.stores = stores or memory_stores(self.clock, self.records)
        self.endpoints = ScriptedEndpoints()
        self.queue = MemoryQueue()
        self.letters = MemoryLetters()
        self.outbox = MemoryOutbox()
        self.announced: list[Announcement] = []
        self.publishing_fails = False
        self._numbers = itertools.count(1)
        audit = SubscriptionAudit(AuditTrail(self.outbox, self.clock))
        kept = self.stores
        telling = Telling(kept.subscriptions, Announcements(self._publish))
        disabler = Disabler(
            kept.subscriptions, audit, telling, Limits(timedelta(hours=24), 2), self.clock
        )
        self.service = SubscriptionService(
            WebhookStores(kept.subscriptions, kept.deliveries, kept.endpoints),
            self.endpoints,
            Idempotency(self.records, self.clock, 86_400),
            audit,
            self.clock,
        )
        self.timer = 0.0
        self.fanout = WebhookFanout(
            SubscriptionCache(kept.subscriptions, lambda: self.timer),
            kept.deliveries,
            self.queue,
            self.clock,
        )
        attempts = Attempts(
            AttemptStores(
                kept.subscriptions,
                kept.deliveries,
                kept.endpoints,
                kept.events,
                kept.life,
                self.letters,
            ),
            WebhookRequests(self.endpoints, self.clock),
            disabler,
            self.clock,
            no_jitter,
        )
        self.worker = DeliveryWorker(
            kept.subscriptions, kept.deliveries, attempts, self.queue, self.clock, no_jitter
        )
        stores_in_order = OrderStores(
            kept.subscriptions, kept.deliveries, kept.events, kept.log, kept.cursors
        )
        self.ordered = OrderedWorker(stores_in_order, attempts, self.clock, no_jitter)
        self.sweep = DueSweep(kept.deliveries, self.queue, telling, self.clock)
        self.redeliveries = WebhookRedeliveries(kept.deliveries, self.queue, self.clock)

    async def subscribe(self, **fields: Any) -> Subscription:
        wanted: dict[str, Any] = {
            "url": "https://hooks.example.com/x",
            "types": ("card.moved",),
            "filter": None,
            "description": "",
            "enabled": True,
            "ordered": False,
            "max_concurrency": 5,
            "secret": None,
        }
        created = await self.service.create(NewSubscription(**wanted | fields), None)
        self.timer += 10
        return created.subscription

    async def event(self, event_type: str = "card.moved", **fields: Any) -> Envelope:
        """An event that was accepted this moment."""
        made: dict[str, Any] = {
            "event_id": f"event-{next(self._numbers):03}",
            "event_type": event_type,
            "payload": json.dumps(fields.pop("data", {"card_id": 1})),
            "source": "santaclaude.test",
            "tenant": "project:7",
            "correlation_id": "c",
            "occurred_at": self.clock(),
            "accepted_at": self.clock(),
            "fingerprint": "f",
        }
        event = Event(**made | fields)
        await self.stores.put(event)
        return envelope_of(event)

    async def offered(self, event_type: str = "card.moved", **fields: Any) -> Envelope:
        envelope = await self.event(event_type, **fields)
        await self.fanout.offer(envelope, None)
        return envelope

    def take(self) -> list[DeliveryMessage]:
        """The messages that wait, as the queue gives them out."""
        taken, self.queue.plain = self.queue.plain, []
        return taken

    async def run(self) -> None:
        """Works on what waits, once; time goes on by the longest delay."""
        taken = self.take()
        self.clock.forward(max((message.delay_seconds for message in taken), default=0))
        for message in taken:
            await self.worker.work(message.key)

    async def swept(self) -> None:
        """After a while in which nothing else happened, the sweep; then what it sent for."""
        self.clock.forward(120)
        await self.sweep.sweep()
        await self.run()
        await self.run_ordered()

    async def run_ordered(self) -> list[int]:
        """Works on each ordered message once; those that come again are put back. Returns the
        seconds that they wait.
        """
        taken, self.queue.ordered = self.queue.ordered, []
        hidden = []
        for message in taken:
            holder = Holder()
            try:
                await self.ordered.work(message, holder)
            except KeyBlockedError:
                hidden += holder.hidden
                self.queue.ordered.append(message)
        return hidden

    async def state(self, envelope: Envelope, subscription: Subscription) -> Delivery:
        key = DeliveryKey(envelope.id, subscription.subscription_id)
        found: Delivery | None = await self.stores.deliveries.get(key)
        assert found is not None
        return found

    async def _publish(self, announcement: Announcement) -> None:
        if self.publishing_fails:
            raise StoreUnavailableError(retry_after=1)
        self.announced.append(announcement)
