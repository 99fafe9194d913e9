"""What callers do with subscriptions. All is recorded before it is done, refusals included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from contracts.messaging.envelope import SOURCE_PREFIX, Envelope
from contracts.messaging.subscriptions import MAX_SUBSCRIPTIONS
from functions.messaging.domain.envelopes import envelope_of
from functions.messaging.domain.events import Event
from functions.messaging.domain.subscriptions import Disabled, Subscription, SubscriptionPage
from functions.messaging.domain.webhook_audit import Action, SubscriptionAudit
from functions.messaging.domain.webhook_deliveries import DeliveryPage
from functions.messaging.domain.webhook_errors import (
    RefusedUrlError,
    SubscriptionChangedError,
    SubscriptionNotFoundError,
    TooManySubscriptionsError,
)
from functions.messaging.domain.webhook_ports import (
    Answered,
    DeliveryStore,
    Endpoints,
    EndpointStore,
    SubscriptionStore,
)
from functions.messaging.domain.webhook_requests import WebhookRequests
from functions.messaging.domain.webhook_signing import Secrets, make_secret
from servicekit.clock import Clock, from_text, to_text
from servicekit.context import current_context
from servicekit.errors import AppError, InvalidRequestError
from servicekit.idempotency import Claim, ClaimUpdate, Idempotency, Reference, Request
from servicekit.ids import new_ulid

TEST_TYPE = "webhook.test"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubscription:
    """What a caller wants."""

    url: str
    types: tuple[str, ...]
    filter: Mapping[str, Any] | None
    description: str
    enabled: bool
    ordered: bool
    max_concurrency: int
    secret: str | None


@dataclass(frozen=True, slots=True)
class Created:
    """A subscription, and the secret that was made for it, to be told once."""

    subscription: Subscription
    made_secret: str | None


@dataclass(frozen=True, slots=True)
class Rotated:
    """A secret that was made, to be told once, and until when the former one signs."""

    made_secret: str | None
    former_until: datetime | None


@dataclass(frozen=True, slots=True)
class WebhookStores:
    """What the calls about subscriptions read and write."""

    subscriptions: SubscriptionStore
    deliveries: DeliveryStore
    endpoints: EndpointStore


class SubscriptionService:
    """Every call raises `AuditUnavailableError` when it cannot be recorded, and
    `StoreUnavailableError`.
    """

    def __init__(
        self,
        stores: WebhookStores,
        endpoints: Endpoints,
        idempotency: Idempotency,
        audit: SubscriptionAudit,
        clock: Clock,
    ) -> None:
        self._store = stores.subscriptions
        self._deliveries = stores.deliveries
        self._health = stores.endpoints
        self._endpoints = endpoints
        self._requests = WebhookRequests(endpoints, clock)
        self._idempotency = idempotency
        self._audit = audit
        self._clock = clock

    async def create(self, wanted: NewSubscription, request: Request | None) -> Created:
        """A new subscription, or under a repeated key the one that is there, without its secret.

        Raises `InvalidRequestError` for a URL that nothing is posted to, and
        `TooManySubscriptionsError`.
        """

        async def work(claim: Claim | None) -> Created:
            return await self._create(wanted, claim)

        async def replay(reference: Reference) -> Created:
            return Created(await self.get(str(reference["subscription_id"])), None)

        return await self._idempotency.once(request, work, replay)

    async def get(self, subscription_id: str) -> Subscription:
        """Raises `SubscriptionNotFoundError`."""
        found = await self._known(Action.READ, subscription_id)
        await self._audit.allow(Action.READ, subscription_id)
        return found

    async def page(self, limit: int, cursor: str | None) -> SubscriptionPage:
        """Some of them, oldest first. Raises `InvalidCursorError`."""
        found = await self._store.page(limit, cursor)
        await self._audit.allow(Action.LIST)
        return found

    async def change(
        self, subscription_id: str, version: int, changes: Mapping[str, Any]
    ) -> Subscription:
        """`changes` are fields of `NewSubscription` but its secret.

        Raises `SubscriptionNotFoundError`, `SubscriptionChangedError` and `InvalidRequestError`.
        """
        action = Action.CHANGE
        present = await self._known(action, subscription_id)
        if present.version != version:
            raise await self._audit.deny(action, subscription_id, SubscriptionChangedError())
        if "url" in changes:
            await self._check(action, subscription_id, changes["url"])
        changed = self._changed(present, changes)
        facts = {"fields": sorted(changes), "version": changed.version}
        await self._audit.allow(action, subscription_id, facts)
        if changed.enabled and not present.enabled:
            await self._health.forget(subscription_id)
        if not await self._store.replace(changed):
            raise SubscriptionChangedError
        return changed

    async def remove(self, subscription_id: str) -> None:
        """Raises `SubscriptionNotFoundError`."""
        await self._known(Action.DELETE, subscription_id)
        await self._audit.allow(Action.DELETE, subscription_id)
        if not await self._store.remove(subscription_id):
            raise SubscriptionNotFoundError

    async def rotate(
        self,
        subscription_id: str,
        secret: str | None,
        overlap_seconds: int,
        request: Request | None = None,
    ) -> Rotated:
        """Another secret; under a repeated key nothing changes, or the former one would end early.

        Raises `SubscriptionNotFoundError` and `SubscriptionChangedError`.
        """

        async def work(claim: Claim | None) -> Rotated:
            return await self._rotate(subscription_id, secret, overlap_seconds, claim)

        async def replay(reference: Reference) -> Rotated:
            await self._known(Action.ROTATE, subscription_id)
            await self._audit.allow(Action.ROTATE, subscription_id, {"repeated": True})
            until = reference["former_until"]
            return Rotated(None, from_text(until) if until else None)

        return await self._idempotency.once(request, work, replay)

    async def _rotate(
        self, subscription_id: str, secret: str | None, overlap_seconds: int, claim: Claim | None
    ) -> Rotated:
        action = Action.ROTATE
        before = await self._store.secrets(subscription_id)
        if before is None:
            raise await self._audit.deny(action, subscription_id, SubscriptionNotFoundError())
        until = self._clock() + timedelta(seconds=overlap_seconds) if overlap_seconds else None
        made = None if secret else make_secret()
        after = before.rotated(secret or made or "", until)
        await self._audit.allow(action, subscription_id, {"overlap_seconds": overlap_seconds})
        reference = {"former_until": to_text(until) if until else None}
        update = ClaimUpdate(claim, reference, completed=True) if claim else None
        if not await self._store.rotate(subscription_id, before, after, update):
            raise SubscriptionChangedError
        return Rotated(made, until)

    async def test(self, subscription_id: str) -> tuple[str, Answered]:
        """Posts a test event; its id and what came of it. Raises `SubscriptionNotFoundError`."""
        found = await self._known(Action.TEST, subscription_id)
        secrets = await self._store.secrets(subscription_id)
        if secrets is None:
            raise await self._audit.deny(Action.TEST, subscription_id, SubscriptionNotFoundError())
        event_id = new_ulid()
        await self._audit.allow(Action.TEST, subscription_id, {"event_id": event_id})
        envelope = self._test_event(event_id, subscription_id)
        return event_id, await self._requests.post(found.url, secrets, envelope)

    async def deliveries(
        self, subscription_id: str, limit: int, cursor: str | None
    ) -> DeliveryPage:
        """Newest first. Raises `SubscriptionNotFoundError` and `InvalidCursorError`."""
        await self._known(Action.DELIVERIES, subscription_id)
        found = await self._deliveries.page(subscription_id, limit, cursor)
        await self._audit.allow(Action.DELIVERIES, subscription_id)
        return found

    async def _create(self, wanted: NewSubscription, claim: Claim | None) -> Created:
        subscription_id = new_ulid()
        await self._check(Action.CREATE, None, wanted.url)
        if await self._store.count() >= MAX_SUBSCRIPTIONS:
            raise await self._audit.deny(Action.CREATE, None, TooManySubscriptionsError())
        now = self._clock()
        subscription = Subscription(
            subscription_id=subscription_id,
            url=wanted.url,
            types=wanted.types,
            filter=wanted.filter,
            description=wanted.description,
            ordered=wanted.ordered,
            max_concurrency=wanted.max_concurrency,
            version=1,
            since=now,
            created_at=now,
            updated_at=now,
            disabled=None if wanted.enabled else Disabled("by_caller", now),
        )
        # The host alone: a path or a query may be a secret of the receiver's.
        facts = {"host": urlsplit(wanted.url).hostname, "types": list(wanted.types)[:20]}
        await self._audit.allow(Action.CREATE, subscription_id, facts)
        made = None if wanted.secret else make_secret()
        update = None
        if claim is not None:
            # An id: what is told again is read again, and a secret is never kept for that.
            reference = {"subscription_id": subscription_id}
            update = ClaimUpdate(claim, reference, completed=True)
        await self._store.create(subscription, Secrets(wanted.secret or made or ""), update)
        return Created(subscription, made)

    def _changed(self, present: Subscription, changes: Mapping[str, Any]) -> Subscription:
        now = self._clock()
        fields = {name: value for name, value in changes.items() if name != "enabled"}
        changed = replace(present, **fields, version=present.version + 1, updated_at=now)
        enabled = changes.get("enabled", present.enabled)
        if enabled == present.enabled:
            return changed
        if enabled:
            return replace(changed, disabled=None, announced=True, since=now)
        return replace(changed, disabled=Disabled("by_caller", now))

    async def _check(self, action: Action, subscription_id: str | None, url: str) -> None:
        try:
            await self._endpoints.check(url)
        except RefusedUrlError as refused:
            error: AppError = InvalidRequestError(
                errors=[{"field": "url", "message": refused.reason}]
            )
            raise await self._audit.deny(action, subscription_id, error) from None

    async def _known(self, action: Action, subscription_id: str) -> Subscription:
        found = await self._store.get(subscription_id)
        if found is None:
            raise await self._audit.deny(action, subscription_id, SubscriptionNotFoundError())
        return found

    def _test_event(self, event_id: str, subscription_id: str) -> Envelope:
        now = self._clock()
        context = current_context()
        event = Event(
            event_id=event_id,
            event_type=TEST_TYPE,
            payload=json.dumps({"subscription_id": subscription_id}),
            source=f"{SOURCE_PREFIX}messaging",
            tenant="none",
            correlation_id=event_id,
            occurred_at=now,
            accepted_at=now,
            # It is kept nowhere.
            fingerprint="",
            traceparent=context.trace.traceparent if context else None,
        )
        return envelope_of(event)
