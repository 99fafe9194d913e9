"""The calls about webhook subscriptions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Request
from pydantic import BaseModel

from contracts.messaging import subscriptions as contract
from functions.messaging.domain.subscription_service import NewSubscription
from functions.messaging.domain.subscriptions import Subscription
from functions.messaging.domain.webhook_deliveries import Attempt, LoggedDelivery
from functions.messaging.routes.health import ControlDep
from servicekit import idempotency
from servicekit.fastapi_app import idempotency_key, signed_router
from servicekit.identity import require_caller
from servicekit.paging import DEFAULT_LIMIT, MAX_LIMIT
from servicekit.problems import read_json
from servicekit.responses import WireResponse

IdDep = Annotated[str, Path(min_length=1, max_length=contract.MAX_SUBSCRIPTION_ID_LENGTH)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
DeliveryLimit = Annotated[int, Query(ge=1, le=contract.MAX_DELIVERIES)]
Cursor = Annotated[str | None, Query(min_length=1, max_length=1024)]

routes = signed_router()


@routes.post("/api/v1/subscriptions")
async def create_subscription(request: Request, control: ControlDep) -> WireResponse:
    """Makes a subscription."""
    body = await read_json(request, contract.SubscriptionCreate)
    wanted = NewSubscription(
        url=body.url,
        types=tuple(dict.fromkeys(body.types)),
        filter=body.filter,
        description=body.description,
        enabled=body.enabled,
        ordered=body.ordered,
        max_concurrency=body.max_concurrency,
        secret=body.secret,
    )
    created = await control.subscriptions.create(
        wanted, _keyed(request, body, "create_subscription")
    )
    answer = contract.SubscriptionCreated(
        **_fields(created.subscription), secret=created.made_secret
    )
    return _secret(WireResponse(answer, 201))


@routes.get("/api/v1/subscriptions")
async def list_subscriptions(
    control: ControlDep, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> WireResponse:
    """Lists subscriptions."""
    page = await control.subscriptions.page(limit, cursor)
    found = [_wire(subscription) for subscription in page.subscriptions]
    return WireResponse(
        contract.SubscriptionPage(subscriptions=found, next_cursor=page.next_cursor)
    )


@routes.get("/api/v1/subscriptions/{subscription_id}")
async def get_subscription(control: ControlDep, subscription_id: IdDep) -> WireResponse:
    """Reads a subscription."""
    return WireResponse(_wire(await control.subscriptions.get(subscription_id)))


@routes.patch("/api/v1/subscriptions/{subscription_id}")
async def change_subscription(
    request: Request, control: ControlDep, subscription_id: IdDep
) -> WireResponse:
    """Changes a subscription."""
    body = await read_json(request, contract.SubscriptionChange)
    changes = {name: getattr(body, name) for name in body.model_fields_set - {"version"}}
    if "types" in changes:
        changes["types"] = tuple(dict.fromkeys(changes["types"]))
    changed = await control.subscriptions.change(subscription_id, body.version, changes)
    return WireResponse(_wire(changed))


@routes.delete("/api/v1/subscriptions/{subscription_id}")
async def delete_subscription(control: ControlDep, subscription_id: IdDep) -> WireResponse:
    """Removes a subscription."""
    await control.subscriptions.remove(subscription_id)
    return WireResponse(contract.SubscriptionDeleted(message="Subscription deleted"))


@routes.post("/api/v1/subscriptions/{subscription_id}/secrets")
async def rotate_secret(
    request: Request, control: ControlDep, subscription_id: IdDep
) -> WireResponse:
    """Gives a subscription another secret."""
    body = await read_json(request, contract.SecretRotate)
    rotated = await control.subscriptions.rotate(
        subscription_id,
        body.secret,
        body.overlap_seconds,
        _keyed(request, body, "rotate_secret", subscription_id),
    )
    answer = contract.SecretRotated(
        subscription_id=subscription_id,
        secret=rotated.made_secret,
        former_until=rotated.former_until,
    )
    return _secret(WireResponse(answer, 201))


@routes.post("/api/v1/subscriptions/{subscription_id}/test")
async def test_subscription(control: ControlDep, subscription_id: IdDep) -> WireResponse:
    """Posts a test event."""
    event_id, answered = await control.subscriptions.test(subscription_id)
    return WireResponse(
        contract.SubscriptionTest(
            event_id=event_id,
            delivered=answered.error is None,
            status=answered.status,
            latency_ms=answered.latency_ms,
            error=answered.error,
        )
    )


@routes.get("/api/v1/subscriptions/{subscription_id}/deliveries")
async def list_subscription_deliveries(
    control: ControlDep,
    subscription_id: IdDep,
    limit: DeliveryLimit = contract.DEFAULT_DELIVERIES,
    cursor: Cursor = None,
) -> WireResponse:
    """Lists what was delivered to a subscription."""
    page = await control.subscriptions.deliveries(subscription_id, limit, cursor)
    found = [_delivery(logged) for logged in page.deliveries]
    return WireResponse(
        contract.WebhookDeliveryPage(deliveries=found, next_cursor=page.next_cursor)
    )


def _keyed(request: Request, body: BaseModel, *scope: str) -> idempotency.Request | None:
    key = idempotency_key(request)
    if key is None:
        return None
    principal = require_caller(request.scope).principal
    return idempotency.Request(
        idempotency.scope_key(key, principal, *scope),
        # A digest of the whole: a secret of 24 bytes or more is not to be guessed from it.
        idempotency.fingerprint(body.model_dump(mode="json", exclude_defaults=True)),
    )


def _secret(response: WireResponse) -> WireResponse:
    response.headers["cache-control"] = "no-store"
    return response


def _wire(subscription: Subscription) -> contract.Subscription:
    return contract.Subscription(**_fields(subscription))


def _fields(subscription: Subscription) -> dict[str, Any]:
    disabled = subscription.disabled
    return {
        "subscription_id": subscription.subscription_id,
        "url": subscription.url,
        "description": subscription.description,
        "types": list(subscription.types),
        "filter": subscription.filter,
        "enabled": subscription.enabled,
        "disabled": contract.SubscriptionDisabled(reason=disabled.reason, at=disabled.at)
        if disabled
        else None,
        "ordered": subscription.ordered,
        "max_concurrency": subscription.max_concurrency,
        "version": subscription.version,
        "created_at": subscription.created_at,
        "updated_at": subscription.updated_at,
    }


def _delivery(logged: LoggedDelivery) -> contract.WebhookDelivery:
    delivery = logged.delivery
    return contract.WebhookDelivery(
        event_id=delivery.key.event_id,
        event_type=delivery.event_type,
        replay_id=delivery.key.replay_id,
        # Given up is given up, whether its dead letter is written yet or not.
        state="dead" if delivery.state == "dying" else delivery.state,
        attempts=delivery.attempts,
        error=delivery.error,
        created_at=delivery.created_at,
        next_attempt_at=delivery.next_attempt_at if delivery.open else None,
        log=[_attempt(attempt) for attempt in logged.log],
    )


def _attempt(attempt: Attempt) -> contract.WebhookAttempt:
    return contract.WebhookAttempt(
        number=attempt.number,
        at=attempt.at,
        status=attempt.status,
        latency_ms=attempt.latency_ms,
        error=attempt.error,
        answer=attempt.answer,
    )
