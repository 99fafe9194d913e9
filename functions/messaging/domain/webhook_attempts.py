"""Attempts: one request for one delivery, made by one worker at a time, and what comes of it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts.messaging.envelope import Envelope
from contracts.messaging.streams import stream_of
from functions.messaging.domain.dead_letters import DeadLetter, DeadLetterBox
from functions.messaging.domain.life import LifeStore
from functions.messaging.domain.ports import Envelopes
from functions.messaging.domain.subscriptions import Subscription, consumer_of
from functions.messaging.domain.webhook_deliveries import (
    Attempt,
    Delivery,
    Jitter,
    attempt_moment,
    death_id,
    death_moment,
    next_attempt,
)
from functions.messaging.domain.webhook_disabling import Disabler
from functions.messaging.domain.webhook_fanout import GRACE_SECONDS
from functions.messaging.domain.webhook_ports import (
    MAX_DELAY_SECONDS,
    Answered,
    DeliveryStore,
    EndpointStore,
    Outcome,
    SubscriptionStore,
)
from functions.messaging.domain.webhook_requests import WebhookRequests
from servicekit.clock import Clock
from servicekit.ids import new_ulid

LEASE_SECONDS = 60
"""Of a slot and of a delivery: longer than an attempt takes with all its writes, and what a crash
makes others wait.
"""

GONE = "status_410"
EXPIRED = "event_expired"
DISABLED = "subscription_disabled"
DELETED = "subscription_deleted"


class NoSlotError(Exception):
    """As many requests to the endpoint are under way as it wants."""


@dataclass(frozen=True, slots=True)
class AttemptStores:
    """What attempts read and write."""

    subscriptions: SubscriptionStore
    deliveries: DeliveryStore
    endpoints: EndpointStore
    events: Envelopes
    life: LifeStore
    dead_letters: DeadLetterBox


class Attempts:
    """Makes attempts, and gives deliveries up."""

    def __init__(
        self,
        stores: AttemptStores,
        requests: WebhookRequests,
        disabler: Disabler,
        clock: Clock,
        jitter: Jitter = random.uniform,
    ) -> None:
        self._subscriptions = stores.subscriptions
        self._deliveries = stores.deliveries
        self._endpoints = stores.endpoints
        self._events = stores.events
        self._life = stores.life
        self._dead_letters = stores.dead_letters
        self._requests = requests
        self._disabler = disabler
        self._clock = clock
        self._jitter = jitter

    async def attempt(self, subscription: Subscription, delivery: Delivery) -> Delivery | None:
        """One attempt of a pending delivery; the delivery afterwards, or None where another worker
        has it in hand. Raises `NoSlotError`.
        """
        holder = new_ulid()
        until = self._clock() + timedelta(seconds=LEASE_SECONDS)
        subscription_id = subscription.subscription_id
        if not await self._endpoints.take(
            subscription_id, subscription.max_concurrency, holder, until
        ):
            raise NoSlotError
        outcome: Outcome | None = None
        after: Delivery | None = None
        try:
            # Not before there is a slot: an event may be large, and a message may wait often.
            envelope = await self._events.envelope(delivery.key.event_id)
            if envelope is None:
                return await self.give_up(delivery, EXPIRED)
            if not await self._deliveries.lease(delivery, holder, self._clock(), until):
                return None
            after = await self._made(subscription, delivery, envelope, holder)
            outcome = _outcome(after) if after else None
        finally:
            health = await self._endpoints.release(subscription_id, holder, outcome, self._clock())
        # Only once the attempt is stored: what fails from here on costs no second request.
        if after is not None and after.error == GONE:
            await self._disabler.disable(subscription, "gone")
        await self._disabler.judge(subscription, health)
        if after is not None and after.state == "dying":
            await self.bury(after)
        return after

    async def give_up(self, delivery: Delivery, error: str) -> Delivery | None:
        """Ends a pending delivery without an attempt; None where another worker has it in hand."""
        if not await self._deliveries.give_up(delivery, error, self._clock()):
            return None
        found = await self._deliveries.get(delivery.key)
        if found is not None:
            await self.bury(found)
        return found

    async def bury(self, delivery: Delivery) -> None:
        """Brings a dying delivery to the dead letters; may be repeated."""
        now = self._clock()
        key = delivery.key
        await self._life.append({key.event_id: [death_moment(delivery, now)]})
        # Of a subscription that is no more, nobody could ask for the event again.
        if delivery.error != DELETED:
            await self._dead_letters.add(
                DeadLetter(
                    event_id=key.event_id,
                    event_type=delivery.event_type,
                    tenant=delivery.tenant,
                    stream=stream_of(delivery.event_type),
                    consumer=consumer_of(key.subscription_id),
                    error=delivery.error or "unknown",
                    attempts=delivery.attempts,
                    died_at=now,
                    delivery_id=death_id(delivery),
                )
            )
        await self._deliveries.finish(delivery)

    async def _made(
        self, subscription: Subscription, delivery: Delivery, envelope: Envelope, token: str
    ) -> Delivery | None:
        secrets = await self._subscriptions.secrets(subscription.subscription_id)
        if secrets is None:
            # Deleted this very moment: the next message finds no subscription.
            return None
        at = self._clock()
        answered = await self._requests.post(subscription.url, secrets, envelope)
        attempt = Attempt(
            number=delivery.attempts + 1,
            at=at,
            latency_ms=answered.latency_ms,
            status=answered.status,
            error=answered.error,
            answer=answered.answer,
        )
        after, due_at = self._judged(delivery, answered)
        await self._life.append({envelope.id: [attempt_moment(delivery.key, attempt)]})
        if not await self._deliveries.record(after, attempt, token, due_at):
            return None
        return after

    def _judged(self, delivery: Delivery, answered: Answered) -> tuple[Delivery, datetime | None]:
        """The delivery after an attempt, and when the sweep is to look after it."""
        if answered.error is None:
            return delivery.succeeded(), None
        now = self._clock()
        again = None
        if answered.error != GONE:
            again = next_attempt(delivery, now, answered.retry_after, self._jitter)
        after = delivery.failed(answered.error, again)
        if again is None:
            return after, now
        near = (again - now).total_seconds() <= MAX_DELAY_SECONDS
        waits_for_message = near or delivery.ordering_key is not None
        return after, again + timedelta(seconds=GRACE_SECONDS if waits_for_message else 0)


def _outcome(after: Delivery) -> Outcome:
    if after.state == "delivered":
        return "delivered"
    return "failed" if after.open else "dead"
