"""Redrives of dead letters of subscriptions: another round of attempts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from functions.messaging.domain.dead_letters import SUBSCRIPTION_PREFIX, DeadLetter
from functions.messaging.domain.redrives_errors import NoConsumerError
from functions.messaging.domain.webhook_fanout import GRACE_SECONDS
from functions.messaging.domain.webhook_ports import DeliveryMessage, DeliveryQueue, DeliveryStore
from servicekit.clock import Clock


class WebhookRedeliveries:
    """`dead_letters.Redeliveries` for consumers `subscription:<id>`.

    The round is not ordered: its key has gone on. Attempts count on, the schedule begins anew.
    """

    def __init__(self, deliveries: DeliveryStore, queue: DeliveryQueue, clock: Clock) -> None:
        self._deliveries = deliveries
        self._queue = queue
        self._clock = clock

    async def redeliver(self, letter: DeadLetter, redrive_id: str) -> None:
        """See `Redeliveries`. Raises `NoConsumerError`; and `QueueUnavailableError`, upon which it
        may be repeated.
        """
        subscription_id = letter.consumer.removeprefix(SUBSCRIPTION_PREFIX)
        found = await self._deliveries.of_event(letter.event_id, subscription_id)
        if not found:
            # The delivery expired, or went with its subscription.
            raise NoConsumerError
        now = self._clock()
        messages = []
        for delivery, last_redrive in found:
            if delivery.state == "dead":
                again = replace(
                    delivery,
                    state="pending",
                    earlier=delivery.attempts,
                    rounds=delivery.rounds + 1,
                    next_attempt_at=now,
                    ordering_key=None,
                )
                due_at = now + timedelta(seconds=GRACE_SECONDS)
                if await self._deliveries.rearm(again, redrive_id, due_at):
                    messages.append(DeliveryMessage(delivery.key))
            elif delivery.open and last_redrive == redrive_id:
                # Repeated after a crash: a second message does no harm.
                messages.append(DeliveryMessage(delivery.key))
        await self._queue.send(messages)
