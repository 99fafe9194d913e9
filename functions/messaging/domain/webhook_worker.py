"""A message of the deliveries' queue: one attempt, and the message for the next one."""

from __future__ import annotations

import logging
import math
import random

from functions.messaging.domain.queue_errors import QueueUnavailableError
from functions.messaging.domain.webhook_attempts import (
    DELETED,
    DISABLED,
    Attempts,
    NoSlotError,
)
from functions.messaging.domain.webhook_deliveries import Delivery, DeliveryKey, Jitter
from functions.messaging.domain.webhook_ports import (
    MAX_DELAY_SECONDS,
    DeliveryMessage,
    DeliveryQueue,
    DeliveryStore,
    SubscriptionStore,
)
from servicekit.clock import Clock

SLOT_PAUSE_SECONDS = (1, 5)
"""Between which a message waits that found no slot."""

_EARLY_SECONDS = 2
_logger = logging.getLogger(__name__)


class DeliveryWorker:
    """Works on messages. A message says only that something may be due: what is, the delivery says.
    So one that comes twice, or late, does no harm.
    """

    def __init__(
        self,
        subscriptions: SubscriptionStore,
        deliveries: DeliveryStore,
        attempts: Attempts,
        queue: DeliveryQueue,
        clock: Clock,
        jitter: Jitter = random.uniform,
    ) -> None:
        self._subscriptions = subscriptions
        self._deliveries = deliveries
        self._attempts = attempts
        self._queue = queue
        self._clock = clock
        self._jitter = jitter

    async def work(self, key: DeliveryKey) -> None:
        """Returns when the message is done with. Raises an `AppError` when it is to come again."""
        delivery = await self._deliveries.get(key)
        if delivery is None:
            _logger.warning("no such delivery", extra={"event_id": key.event_id})
        elif delivery.state == "dying":
            await self._attempts.bury(delivery)
        elif delivery.open and delivery.ordering_key is None:
            await self._see_to(delivery)

    async def _see_to(self, delivery: Delivery) -> None:
        early = (delivery.next_attempt_at - self._clock()).total_seconds()
        if early > 0:
            # A clock that differs a little; what is earlier is a repetition, and the message of the
            # attempt to come, or the sweep, is on its way.
            if early <= _EARLY_SECONDS:
                await self._send(delivery, early)
            return
        subscription = await self._subscriptions.get(delivery.key.subscription_id)
        if subscription is None or not subscription.enabled:
            await self._attempts.give_up(delivery, DISABLED if subscription else DELETED)
            return
        try:
            after = await self._attempts.attempt(subscription, delivery)
        except NoSlotError:
            await self._send(delivery, self._jitter(*SLOT_PAUSE_SECONDS))
            return
        if after is not None and after.open:
            pause = (after.next_attempt_at - self._clock()).total_seconds()
            if pause <= MAX_DELAY_SECONDS:
                await self._send(after, max(pause, 0))

    async def _send(self, delivery: Delivery, seconds: float) -> None:
        try:
            await self._queue.send([DeliveryMessage(delivery.key, math.ceil(seconds))])
        except QueueUnavailableError:
            _logger.warning("left to the sweep", extra={"event_id": delivery.key.event_id})
