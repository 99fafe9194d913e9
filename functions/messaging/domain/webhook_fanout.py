"""Events to deliveries: each event is offered to every subscription, and kept for those that want
it before anything is sent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from contracts.messaging.envelope import Envelope
from functions.messaging.domain.queue_errors import QueueUnavailableError
from functions.messaging.domain.subscriptions import Subscription
from functions.messaging.domain.webhook_deliveries import Delivery, DeliveryKey
from functions.messaging.domain.webhook_ports import (
    DeliveryMessage,
    DeliveryQueue,
    DeliveryStore,
    OrderedMessage,
    SubscriptionReader,
)
from servicekit.clock import Clock

CACHED_SECONDS = 5.0
"""After so long at most a change of a subscription is seen."""

GRACE_SECONDS = 60
"""How long a message may be on its way before the sweep takes it for lost."""

_logger = logging.getLogger(__name__)


class SubscriptionCache:
    """All subscriptions, as they were `CACHED_SECONDS` ago at most."""

    def __init__(
        self, reader: SubscriptionReader, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader = reader
        self._timer = timer
        self._lock = asyncio.Lock()
        self._read_at: float | None = None
        self._enabled: Sequence[Subscription] = ()

    async def enabled(self) -> Sequence[Subscription]:
        """Those that get events."""
        async with self._lock:
            began = self._timer()
            if self._read_at is None or began - self._read_at >= CACHED_SECONDS:
                found = await self._reader.all()
                self._enabled = [one for one in found if one.enabled]
                self._read_at = began
        return self._enabled


class WebhookFanout:
    """`fanout.Fanout`: deliveries are stored first, each once, then sent for.

    What a crash or the queue leaves unsent, the sweep sends.
    """

    def __init__(
        self,
        subscriptions: SubscriptionCache,
        deliveries: DeliveryStore,
        queue: DeliveryQueue,
        clock: Clock,
    ) -> None:
        self._subscriptions = subscriptions
        self._deliveries = deliveries
        self._queue = queue
        self._clock = clock

    async def offer(self, envelope: Envelope, replay_id: str | None) -> None:
        """See `fanout.Fanout`."""
        wanted = [
            subscription
            for subscription in await self._subscriptions.enabled()
            if subscription.wants(envelope)
            # What was accepted before is brought by a replay alone.
            and (replay_id is not None or envelope.acceptedat >= subscription.since)
        ]
        now = self._clock()
        made = await asyncio.gather(
            *(self._make(subscription, envelope, replay_id, now) for subscription in wanted)
        )
        await self._send([delivery for delivery in made if delivery is not None])

    async def _make(
        self, subscription: Subscription, envelope: Envelope, replay_id: str | None, now: datetime
    ) -> Delivery | None:
        delivery = delivery_of(subscription, envelope, replay_id, now)
        due_at = now + timedelta(seconds=GRACE_SECONDS)
        if await self._deliveries.create(delivery, due_at):
            return delivery
        # The worker of an ordered subscription may have come upon the event by itself; but for the
        # key's later events it has to be sent for all the same.
        return delivery if delivery.ordering_key is not None else None

    async def _send(self, deliveries: Sequence[Delivery]) -> None:
        try:
            await self._queue.send(
                [DeliveryMessage(one.key) for one in deliveries if one.ordering_key is None]
            )
            await self._queue.send_ordered(
                [
                    OrderedMessage(one.key.subscription_id, one.ordering_key, one.key.event_id)
                    for one in deliveries
                    if one.ordering_key is not None
                ]
            )
        except QueueUnavailableError:
            _logger.warning("left to the sweep", extra={"deliveries": len(deliveries)})


def delivery_of(
    subscription: Subscription, envelope: Envelope, replay_id: str | None, now: datetime
) -> Delivery:
    """A new delivery of the event, due at once."""
    return Delivery(
        key=DeliveryKey(envelope.id, subscription.subscription_id, replay_id),
        event_type=envelope.type,
        tenant=envelope.tenant,
        created_at=now,
        next_attempt_at=now,
        ordering_key=envelope.orderingkey if subscription.in_order(envelope, replay_id) else None,
    )
