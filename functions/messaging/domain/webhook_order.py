"""Deliveries in the order of a key: a cursor goes through the key's log, event by event.

The cursor, the deliveries' states and their leases keep the order; the queue's groups only see to
it that workers are not in each other's way.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from functions.messaging.domain.ports import Envelopes
from functions.messaging.domain.subscriptions import Subscription
from functions.messaging.domain.webhook_attempts import (
    DELETED,
    DISABLED,
    Attempts,
    NoSlotError,
)
from functions.messaging.domain.webhook_deliveries import Delivery, DeliveryKey, Jitter
from functions.messaging.domain.webhook_fanout import GRACE_SECONDS, delivery_of
from functions.messaging.domain.webhook_ports import (
    Cursors,
    DeliveryStore,
    KeyedEvent,
    KeyLog,
    MessageHolder,
    OrderedMessage,
    SubscriptionStore,
)
from functions.messaging.domain.webhook_worker import SLOT_PAUSE_SECONDS
from servicekit.clock import Clock

_PAGE = 25
_WORK_SECONDS = 45.0
_MAX_HIDDEN_SECONDS = 11 * 3600
_OTHER_WORKER_SECONDS = 5
_UNFINISHED = frozenset({"pending", "dying"})


class KeyBlockedError(Exception):
    """The message is to come again, when it was told to."""


@dataclass(frozen=True, slots=True)
class _Blocked:
    """Why the key does not go on now, as seconds until it may."""

    seconds: float


@dataclass(frozen=True, slots=True)
class OrderStores:
    """What the worker of ordered deliveries reads and writes."""

    subscriptions: SubscriptionStore
    deliveries: DeliveryStore
    events: Envelopes
    log: KeyLog
    cursors: Cursors


class OrderedWorker:
    """Works on messages that say that there is something to do for a subscription's key."""

    def __init__(
        self,
        stores: OrderStores,
        attempts: Attempts,
        clock: Clock,
        jitter: Jitter = random.uniform,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._subscriptions = stores.subscriptions
        self._deliveries = stores.deliveries
        self._events = stores.events
        self._log = stores.log
        self._cursors = stores.cursors
        self._attempts = attempts
        self._clock = clock
        self._jitter = jitter
        self._timer = timer

    async def work(self, message: OrderedMessage, holder: MessageHolder) -> None:
        """Returns when nothing of the key is left to deliver. Raises `KeyBlockedError`, and an
        `AppError` of a store, when the message is to come again.
        """
        blocked = await self._through_log(message)
        if blocked is None:
            blocked = await self._left_behind(message)
        if blocked is not None:
            seconds = min(max(math.ceil(blocked.seconds), 0), _MAX_HIDDEN_SECONDS)
            await holder.hide(seconds)
            raise KeyBlockedError

    async def _through_log(self, message: OrderedMessage) -> _Blocked | None:
        """Delivers what lies behind the cursor."""
        began = self._timer()
        subscription_id, ordering_key = message.subscription_id, message.ordering_key
        position = await self._cursors.position(subscription_id, ordering_key)
        while entries := await self._log.after(ordering_key, position, _PAGE):
            subscription = await self._subscriptions.get(subscription_id)
            reached = position
            blocked: _Blocked | None = None
            for entry in entries:
                if self._timer() - began > _WORK_SECONDS:
                    blocked = _Blocked(0)
                    break
                delivery = await self._wanted(subscription_id, subscription, entry)
                if delivery is not None:
                    blocked = await self._deliver(subscription, delivery)
                    if blocked is not None:
                        break
                reached = entry.sequence
                if delivery is not None:
                    # What a crash lets be read once more, the delivery's state tells.
                    break
            if reached != position:
                moved = await self._cursors.advance(
                    subscription_id, ordering_key, position, reached
                )
                if not moved:
                    return _Blocked(_OTHER_WORKER_SECONDS)
                position = reached
            if blocked is not None:
                return blocked
        return None

    async def _wanted(
        self, subscription_id: str, subscription: Subscription | None, entry: KeyedEvent
    ) -> Delivery | None:
        """The delivery of the entry that is still to be made, if there is one."""
        if subscription is not None and not subscription.wants_type(entry.event_type):
            return None
        key = DeliveryKey(entry.event_id, subscription_id)
        delivery = await self._deliveries.get(key)
        if delivery is None:
            if (
                subscription is None
                or not subscription.enabled
                or entry.accepted_at < subscription.since
            ):
                return None
            envelope = await self._events.envelope(entry.event_id)
            if envelope is None or not subscription.wants(envelope):
                return None
            now = self._clock()
            made = delivery_of(subscription, envelope, None, now)
            await self._deliveries.create(made, now + timedelta(seconds=GRACE_SECONDS))
            delivery = await self._deliveries.get(key)
        return delivery if delivery is not None and delivery.state in _UNFINISHED else None

    async def _deliver(
        self, subscription: Subscription | None, delivery: Delivery
    ) -> _Blocked | None:
        """None once the delivery is through, one way or the other."""
        if delivery.state == "dying":
            await self._attempts.bury(delivery)
            return None
        if subscription is None or not subscription.enabled:
            error = DISABLED if subscription else DELETED
            after = await self._attempts.give_up(delivery, error)
        else:
            early = (delivery.next_attempt_at - self._clock()).total_seconds()
            if early > 0:
                return _Blocked(early)
            try:
                after = await self._attempts.attempt(subscription, delivery)
            except NoSlotError:
                return _Blocked(self._jitter(*SLOT_PAUSE_SECONDS))
        if after is None:
            return _Blocked(_OTHER_WORKER_SECONDS)
        if after.open:
            return _Blocked((after.next_attempt_at - self._clock()).total_seconds())
        return None

    async def _left_behind(self, message: OrderedMessage) -> _Blocked | None:
        """An event that the cursor had passed before it was wanted is delivered late."""
        delivery = await self._deliveries.get(
            DeliveryKey(message.event_id, message.subscription_id)
        )
        if delivery is None or delivery.state not in _UNFINISHED:
            return None
        subscription = await self._subscriptions.get(message.subscription_id)
        return await self._deliver(subscription, delivery)
