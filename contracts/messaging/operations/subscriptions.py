"""The operations of webhook subscriptions."""

from __future__ import annotations

from typing import Any

from contracts.messaging import subscriptions as v1
from contracts.messaging.operations.common import ANY_CALL, WITH_BODY, errors
from contracts.operation import Answer, Operation, Parameter

_PATH = "/api/v1/subscriptions"
_ONE = f"{_PATH}/{{subscription_id}}"
_CURSOR = Parameter(
    name="cursor",
    schema={"type": "string", "minLength": 1, "maxLength": 1024},
    description="`next_cursor` of the page before.",
)
_ID = Parameter(
    name="subscription_id",
    schema={"type": "string", "minLength": 1, "maxLength": v1.MAX_SUBSCRIPTION_ID_LENGTH},
    description="`subscription_id` of a Subscription.",
    required=True,
)
_FIELDS = {
    "url": "https://hooks.example.com/santaclaude",
    "types": ["ai.job.*", "card.moved"],
    "description": "Our build monitor",
    "filter": {"tenant": "project:7"},
    "enabled": True,
    "ordered": False,
    "max_concurrency": 5,
}
_SUBSCRIPTION: dict[str, Any] = {
    "subscription_id": "01JDXW9T4M8Z5K3V7Q2N6B1C0A",
    **_FIELDS,
    "disabled": None,
    "version": 1,
    "created_at": "2026-11-30T08:15:00Z",
    "updated_at": "2026-11-30T08:15:00Z",
}
_SECRET = "whsec_" + "A" * 32
_ATTEMPT = {
    "number": 1,
    "at": "2026-11-30T08:16:00Z",
    "status": 503,
    "latency_ms": 41,
    "error": "status_503",
    "answer": "try later",
}
_DELIVERY = {
    "event_id": "01JDXWB2M4N6P8Q0R2S4T6V8W0",
    "event_type": "card.moved",
    "replay_id": None,
    "state": "pending",
    "attempts": 1,
    "error": "status_503",
    "created_at": "2026-11-30T08:15:59Z",
    "next_attempt_at": "2026-11-30T08:16:05Z",
    "log": [_ATTEMPT],
}


def _limit(default: int, most: int) -> Parameter:
    return Parameter(
        name="limit",
        schema={"type": "integer", "minimum": 1, "maximum": most, "default": default},
        description="How many at most.",
    )


OPERATIONS = (
    Operation(
        operation_id="create_subscription",
        method="post",
        path=_PATH,
        summary="Have events posted to an endpoint",
        tag="control",
        description=(
            "Events accepted from now on are posted as CloudEvents (the Envelope), signed as "
            "Standard Webhooks says: `webhook-id` is the event's id and the same for each attempt. "
            "Whatever is not answered with 2xx within 10 s is tried again after 5 s, 30 s, 2 min, "
            "15 min, 1 h and 4 h, or later if `Retry-After` says so, and is a dead letter then. "
            "410 disables the subscription. Delivery is at least once."
        ),
        body=v1.SubscriptionCreate,
        body_example=_FIELDS,
        answer=Answer(
            model=v1.SubscriptionCreated,
            status=201,
            description="The subscription, and its secret once.",
            example=_SUBSCRIPTION | {"secret": _SECRET},
        ),
        errors=errors(ANY_CALL, WITH_BODY, (409,)),
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="list_subscriptions",
        method="get",
        path=_PATH,
        summary="The subscriptions, oldest first",
        tag="control",
        query=(_limit(50, 100), _CURSOR),
        answer=Answer(
            model=v1.SubscriptionPage,
            description="One page.",
            example={"subscriptions": [_SUBSCRIPTION], "next_cursor": None},
        ),
        errors=errors(ANY_CALL, (422,)),
    ),
    Operation(
        operation_id="get_subscription",
        method="get",
        path=_ONE,
        summary="Read a subscription",
        tag="control",
        path_parameters=(_ID,),
        answer=Answer(
            model=v1.Subscription, description="The subscription.", example=_SUBSCRIPTION
        ),
        errors=errors(ANY_CALL, (404, 422)),
    ),
    Operation(
        operation_id="change_subscription",
        method="patch",
        path=_ONE,
        summary="Change a subscription",
        tag="control",
        path_parameters=(_ID,),
        body=v1.SubscriptionChange,
        body_example={"version": 1, "enabled": False},
        answer=Answer(
            model=v1.Subscription,
            description="As it is now.",
            example=_SUBSCRIPTION
            | {
                "version": 2,
                "enabled": False,
                "disabled": {"reason": "by_caller", "at": "2026-11-30T09:00:00Z"},
                "updated_at": "2026-11-30T09:00:00Z",
            },
        ),
        errors=errors(ANY_CALL, WITH_BODY, (404, 409)),
    ),
    Operation(
        operation_id="delete_subscription",
        method="delete",
        path=_ONE,
        summary="Remove a subscription",
        tag="control",
        path_parameters=(_ID,),
        answer=Answer(
            model=v1.SubscriptionDeleted,
            description="It is gone.",
            example={"message": "Subscription deleted"},
        ),
        errors=errors(ANY_CALL, (404, 422)),
    ),
    Operation(
        operation_id="rotate_secret",
        method="post",
        path=f"{_ONE}/secrets",
        summary="Sign with a new secret",
        tag="control",
        description=(
            "The present secret signs beside the new one until `former_until`; one that was former "
            "already ends. A repeated Idempotency-Key rotates nothing and tells no secret again."
        ),
        path_parameters=(_ID,),
        body=v1.SecretRotate,
        body_example={"overlap_seconds": 86_400},
        answer=Answer(
            model=v1.SecretRotated,
            status=201,
            description="The new secret, once.",
            example={
                "subscription_id": _SUBSCRIPTION["subscription_id"],
                "secret": _SECRET,
                "former_until": "2026-12-01T08:15:00Z",
            },
        ),
        errors=errors(ANY_CALL, WITH_BODY, (404, 409)),
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="test_subscription",
        method="post",
        path=f"{_ONE}/test",
        summary="Post a signed test event now",
        tag="control",
        description=(
            "An event of type `webhook.test`, whose data names the subscription. One attempt, "
            "whether the subscription is enabled or not; it is kept nowhere."
        ),
        path_parameters=(_ID,),
        answer=Answer(
            model=v1.SubscriptionTest,
            description="How it went; a failure of the endpoint is a 200 too.",
            example={
                "event_id": "01JDXWB2M4N6P8Q0R2S4T6V8W0",
                "delivered": True,
                "status": 204,
                "latency_ms": 37,
                "error": None,
            },
        ),
        errors=errors(ANY_CALL, (404, 413, 415, 422)),
    ),
    Operation(
        operation_id="list_subscription_deliveries",
        method="get",
        path=f"{_ONE}/deliveries",
        summary="What was delivered to a subscription, newest first",
        tag="control",
        path_parameters=(_ID,),
        query=(_limit(v1.DEFAULT_DELIVERIES, v1.MAX_DELIVERIES), _CURSOR),
        answer=Answer(
            model=v1.WebhookDeliveryPage,
            description="One page.",
            example={"deliveries": [_DELIVERY], "next_cursor": None},
        ),
        errors=errors(ANY_CALL, (404, 422)),
    ),
)
