"""Messaging v1: webhook subscriptions and what was delivered to them."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from contracts.base import UtcDatetime, WireInt, WireModel, json_size, utf8_size

MAX_SUBSCRIPTIONS = 500
"""Of an environment: whoever fans events out holds all of them in memory."""

MAX_TYPES = 50
MAX_URL_LENGTH = 2048
MAX_DESCRIPTION_LENGTH = 500
MAX_CONCURRENCY = 50
DEFAULT_CONCURRENCY = 5

MAX_FILTER_FIELDS = 10
MAX_FILTER_VALUES = 20
MAX_FILTER_VALUE_LENGTH = 256
MAX_FILTER_BYTES = 4096
"""Of a filter as compact JSON."""

SECRET_PREFIX = "whsec_"  # noqa: S105
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64

MAX_ANSWER_BYTES = 1024
"""Of what an endpoint answered, as the log of attempts keeps it."""

MAX_ATTEMPTS_TOLD = 10
"""Of each delivery in a list, the last ones."""

DEFAULT_DELIVERIES = 20
MAX_DELIVERIES = 50
MAX_SUBSCRIPTION_ID_LENGTH = 64

TYPE_PATTERN = r"^(\*|[a-z0-9_.-]{1,126}\.\*|[a-z0-9_.-]{1,128})$"
FILTER_PATH_PATTERN = r"^(tenant|data(\.[A-Za-z0-9_-]{1,64}){1,8})$"

_FILTER_PATH = re.compile(FILTER_PATH_PATTERN, re.ASCII)

Scalar = str | int | float | bool | None
Filter = dict[str, Any]


def _invalid(text: str) -> PydanticCustomError:
    return PydanticCustomError("invalid_filter", "{text}", {"text": text})


def _check_filter(value: Filter) -> Filter:
    if not 1 <= len(value) <= MAX_FILTER_FIELDS:
        raise _invalid(f"A filter has 1 to {MAX_FILTER_FIELDS} fields")
    for path, wanted in value.items():
        if not _FILTER_PATH.fullmatch(path):
            raise _invalid("A field is `tenant` or `data.<name>`, with names joined by dots")
        _check_values(path, wanted)
    if json_size(value) > MAX_FILTER_BYTES:
        raise _invalid(f"A filter has at most {MAX_FILTER_BYTES} bytes")
    return value


def _check_values(path: str, wanted: object) -> None:
    values = wanted if isinstance(wanted, list) else [wanted]
    if not 1 <= len(values) <= MAX_FILTER_VALUES:
        raise _invalid(f"{path} has 1 to {MAX_FILTER_VALUES} values")
    for one in values:
        if not isinstance(one, str | int | float | bool | None):
            raise _invalid(f"{path} wants a string, a number, a boolean, null, or a list of them")
        if isinstance(one, str) and utf8_size(one) > MAX_FILTER_VALUE_LENGTH:
            raise _invalid(f"A value of {path} has more than {MAX_FILTER_VALUE_LENGTH} bytes")


def _check_secret(value: str) -> str:
    key = b""
    if value.startswith(SECRET_PREFIX):
        with suppress(ValueError):
            key = base64.b64decode(value.removeprefix(SECRET_PREFIX), validate=True)
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise PydanticCustomError(
            "invalid_secret",
            "It is whsec_ and the base64 of {least} to {most} bytes",
            {"least": MIN_SECRET_BYTES, "most": MAX_SECRET_BYTES},
        )
    return value


def _refuse_null(value: object) -> object:
    if value is None:
        raise PydanticCustomError("null", "It may be left out, but not null")
    return value


Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL_LENGTH,
        description=(
            "Where events are posted. https, port 443 or 1024 and above, a host whose every "
            "address is public; no user-info, no fragment. Redirects are not followed."
        ),
        examples=["https://hooks.example.com/santaclaude"],
    ),
]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION_LENGTH)]
Types = Annotated[
    list[Annotated[str, Field(pattern=TYPE_PATTERN)]],
    Field(
        min_length=1,
        max_length=MAX_TYPES,
        description="Of each: an event type, `prefix.*` for all types below, or `*` for all.",
        examples=[["ai.job.*", "card.moved"]],
    ),
]
FilterField = Annotated[
    Filter,
    AfterValidator(_check_filter),
    Field(
        description=(
            "Which events of those types: every field must hold. A field is `tenant` or "
            "`data.<name>` with names of nested objects joined by dots; it holds where the event "
            "has that very value, or one of a list. Strings, numbers, booleans and null are equal "
            "to their own kind alone; lists and objects of an event equal nothing."
        ),
        examples=[{"tenant": "project:7", "data.status": ["completed", "failed"]}],
    ),
]
Concurrency = Annotated[
    WireInt,
    Field(
        ge=1,
        le=MAX_CONCURRENCY,
        description="How many requests to the endpoint are under way at the same time, at most.",
    ),
]
Ordered = Annotated[
    bool,
    Field(
        description=(
            "Events that have an ordering key are delivered one after another, as they were "
            "accepted, key by key: one that fails holds back those behind it until it is "
            "delivered or given up."
        )
    ),
]
Secret = Annotated[
    str,
    Field(max_length=128, description="Of Standard Webhooks: `whsec_` and base64 of 24-64 bytes."),
    AfterValidator(_check_secret),
]


class SubscriptionCreate(WireModel):
    """An endpoint, and the events that it wants."""

    url: Url
    types: Types
    description: Description = ""
    filter: Annotated[FilterField | None, Field(description="Without one, all of them.")] = None
    enabled: bool = True
    ordered: Ordered = False
    max_concurrency: Concurrency = DEFAULT_CONCURRENCY
    secret: Annotated[
        Secret | None, Field(description="One is made, and told in the answer, if there is none.")
    ] = None


class SubscriptionChange(WireModel):
    """What is to be different; what is left out stays."""

    version: Annotated[
        WireInt, Field(ge=1, description="Of the subscription as it was read: 409 if it changed.")
    ]
    url: Annotated[Url | None, BeforeValidator(_refuse_null)] = None
    types: Annotated[Types | None, BeforeValidator(_refuse_null)] = None
    description: Annotated[Description | None, BeforeValidator(_refuse_null)] = None
    filter: Annotated[FilterField | None, Field(description="null removes it.")] = None
    enabled: Annotated[
        bool | None,
        BeforeValidator(_refuse_null),
        Field(description="true takes a disabled one up again, from now on."),
    ] = None
    ordered: Annotated[Ordered | None, BeforeValidator(_refuse_null)] = None
    max_concurrency: Annotated[Concurrency | None, BeforeValidator(_refuse_null)] = None

    @model_validator(mode="after")
    def _changes_something(self) -> SubscriptionChange:
        if not self.model_fields_set - {"version"}:
            raise PydanticCustomError("no_change", "At least one field is to be changed")
        return self


class SubscriptionDisabled(WireModel):
    """Why nothing is delivered."""

    reason: Annotated[
        Literal["by_caller", "gone", "failing"],
        Field(
            description=(
                "`gone`: the endpoint answered 410. `failing`: for a day no attempt succeeded, and "
                "several events were given up."
            )
        ),
    ]
    at: UtcDatetime


class Subscription(WireModel):
    """A subscription. Its secrets are never told again."""

    subscription_id: str
    url: str
    description: str
    types: list[str]
    filter: Filter | None
    enabled: bool
    disabled: Annotated[
        SubscriptionDisabled | None, Field(description="Of one that is not enabled.")
    ] = None
    ordered: bool
    max_concurrency: int
    version: Annotated[int, Field(description="Grows with each change.")]
    created_at: UtcDatetime
    updated_at: UtcDatetime


class SubscriptionCreated(Subscription):
    """A new subscription."""

    secret: Annotated[
        str | None,
        Field(
            description=(
                "The one that was made, in this answer alone: null where the caller gave it, and "
                "where an Idempotency-Key is repeated. Whoever lost it rotates."
            )
        ),
    ] = None


class SubscriptionPage(WireModel):
    """Subscriptions, oldest first."""

    subscriptions: list[Subscription]
    next_cursor: str | None = None


class SubscriptionDeleted(WireModel):
    """Nothing more is delivered; what was under way is given up."""

    message: str


class SecretRotate(WireModel):
    """A new secret; the present one signs too for a while."""

    secret: Annotated[Secret | None, Field(description="One is made if there is none.")] = None
    overlap_seconds: Annotated[
        WireInt,
        Field(
            ge=0,
            le=7 * 86_400,
            description="How long the present secret signs beside the new one.",
        ),
    ] = 86_400


class SecretRotated(WireModel):
    """From now on events are signed with the new secret, and until then with the former too."""

    subscription_id: str
    secret: Annotated[
        str | None, Field(description="The one that was made, in this answer alone.")
    ] = None
    former_until: Annotated[UtcDatetime | None, Field(description="Null: it ended at once.")] = None


class WebhookAttempt(WireModel):
    """One request to the endpoint."""

    number: int
    at: UtcDatetime
    status: Annotated[int | None, Field(description="Of its answer; null without one.")] = None
    latency_ms: int
    error: Annotated[
        str | None,
        Field(
            description=(
                "Null: it succeeded. `timeout`, `dns_failed`, `refused_address`, "
                "`connection_failed`, `tls_failed`, `invalid_answer`, `redirected`, `status_<n>`."
            ),
            examples=["status_503"],
        ),
    ] = None
    answer: Annotated[
        str, Field(description=f"The first {MAX_ANSWER_BYTES} bytes of what it answered.")
    ] = ""


class WebhookDelivery(WireModel):
    """One event on its way to one subscription."""

    event_id: str
    event_type: str
    replay_id: Annotated[str | None, Field(description="Where a replay brought the event.")] = None
    state: Literal["pending", "delivered", "dead"]
    attempts: Annotated[int, Field(description="So far.")]
    error: Annotated[
        str | None, Field(description="Of the last attempt, or why it was given up.")
    ] = None
    created_at: UtcDatetime
    next_attempt_at: Annotated[UtcDatetime | None, Field(description="While pending.")] = None
    log: Annotated[
        list[WebhookAttempt], Field(description=f"The last {MAX_ATTEMPTS_TOLD} attempts, in order.")
    ]


class WebhookDeliveryPage(WireModel):
    """Deliveries, newest first."""

    deliveries: list[WebhookDelivery]
    next_cursor: str | None = None


class SubscriptionTest(WireModel):
    """How the endpoint took the test event."""

    event_id: str
    delivered: bool
    status: int | None = None
    latency_ms: int
    error: str | None = None
