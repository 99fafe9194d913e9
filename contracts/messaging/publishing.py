"""Messaging v1: events as they are published, and as they are read again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from contracts.base import UtcDatetime, WireCount, WireId, WireInt, WireModel, is_none
from contracts.event import EventPayload
from contracts.problem import Problem

MAX_EVENT_BYTES = 240 * 1024
"""Of an event as it is put on the bus: its JSON with all attributes, its source and its type."""

MAX_BATCH_EVENTS = 100
MAX_PAYLOAD_DEPTH = 32
MAX_ID_LENGTH = 128
DEFAULT_CHAIN_LIMIT = 50
MAX_CHAIN_LIMIT = 100
MAX_CURSOR_LENGTH = 2048

EVENT_TYPE_PATTERN = r"^[a-z0-9_.-]{1,128}$"
ID_PATTERN = r"^[A-Za-z0-9._:=-]{1,128}$"
"""Of an event's id and of whatever else events are found by."""

EventTypeName = Annotated[
    str,
    Field(
        pattern=EVENT_TYPE_PATTERN,
        examples=["card.moved"],
        description="One of `GET /event-types`, or another: then it goes to `default-events`.",
    ),
]
EventId = Annotated[str, Field(pattern=ID_PATTERN)]
CorrelationId = Annotated[
    str,
    Field(pattern=ID_PATTERN, description="The same for all events of one chain."),
]
CausationId = Annotated[
    str, Field(pattern=ID_PATTERN, description="The id of the event that led to this one.")
]
OrderingKey = Annotated[
    str,
    Field(
        pattern=ID_PATTERN,
        examples=["card:42"],
        description="Events of one key are numbered in the order of their acceptance, for "
        "subscriptions that ask for it.",
    ),
]
RequestId = Annotated[str, Field(pattern=r"^[!-~]{1,128}$")]


class EventCreate(WireModel):
    """An event that happened."""

    event_type: EventTypeName
    payload: Annotated[
        dict[str, Any],
        Field(
            description="What the type's schema says, where it has one. I-JSON (RFC 7493) of at "
            f"most {MAX_PAYLOAD_DEPTH} levels."
        ),
    ]
    id: Annotated[
        EventId | None,
        Field(description="The publisher's own id: what makes a repetition a repetition."),
    ] = None
    correlation_id: Annotated[
        CorrelationId | None, Field(description="Without one the event begins a chain: its id.")
    ] = None
    causation_id: CausationId | None = None
    user_id: Annotated[WireId | None, Field(description="Whose doing it was.")] = None
    request_id: Annotated[
        RequestId | None, Field(description="Of the request it belongs to, if not of this call.")
    ] = None
    traceparent: Annotated[
        str | None,
        Field(
            pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
            description="W3C trace context it belongs to, if not that of this call.",
        ),
    ] = None
    timestamp: Annotated[
        UtcDatetime | None, Field(description="When it happened, if that is not now.")
    ] = None
    ordering_key: OrderingKey | None = None
    retry_count: Annotated[
        WireCount,
        Field(description="The publisher's count; makes no other event of it."),
    ] = 0

    @classmethod
    def of(
        cls,
        payload: EventPayload,
        *,
        event_id: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        user_id: int | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
        timestamp: datetime | None = None,
        ordering_key: str | None = None,
    ) -> Self:
        """The event of a typed payload, which knows its type."""
        attributes = {
            "id": event_id,
            "correlation_id": correlation_id,
            "causation_id": causation_id,
            "user_id": user_id,
            "request_id": request_id,
            "traceparent": traceparent,
            "timestamp": timestamp,
            "ordering_key": ordering_key,
        }
        return cls.model_validate(
            {
                "event_type": payload.EVENT_TYPE,
                "payload": payload.model_dump(mode="json"),
                **{name: value for name, value in attributes.items() if value is not None},
            }
        )


class EventBatch(WireModel):
    """Up to 100 events, each accepted or refused by itself."""

    events: Annotated[list[EventCreate], Field(min_length=1, max_length=MAX_BATCH_EVENTS)]


class EventAccepted(WireModel):
    """The event is stored: it will be delivered."""

    message_id: Annotated[str, Field(examples=["01KASM0T3ZJ8W6Q1XN5V7D2B4C"])]
    correlation_id: str


class EventBatchItem(WireModel):
    """What came of one event; `status` is what it would have been answered with alone."""

    index: Annotated[WireInt, Field(description="The event's place in the batch, from 0.")]
    status: Annotated[WireInt, Field(description="202 accepted, now or before; else an error's.")]
    message_id: Annotated[str | None, Field(exclude_if=is_none)] = None
    correlation_id: Annotated[str | None, Field(exclude_if=is_none)] = None
    error: Annotated[Problem | None, Field(exclude_if=is_none)] = None


class EventBatchResult(WireModel):
    """What came of a batch; repeat the events whose status is 429 or 5xx."""

    message: str
    event_count: Annotated[WireInt, Field(description="Events that are accepted.")]
    results: list[EventBatchItem]


class EventSummary(WireModel):
    """An event without its payload. What it does not have is absent."""

    id: str
    event_type: str
    stream: str
    source: Annotated[str, Field(examples=["santaclaude.ai"])]
    tenant: Annotated[str, Field(examples=["project:7"])]
    correlation_id: str
    causation_id: Annotated[str | None, Field(exclude_if=is_none)] = None
    ordering_key: Annotated[str | None, Field(exclude_if=is_none)] = None
    request_id: Annotated[str | None, Field(exclude_if=is_none)] = None
    traceparent: Annotated[str | None, Field(exclude_if=is_none)] = None
    user_id: Annotated[WireInt | None, Field(exclude_if=is_none)] = None
    retry_count: WireInt = 0
    timestamp: Annotated[UtcDatetime, Field(description="When it happened.")]
    accepted_at: UtcDatetime
    published_at: Annotated[
        UtcDatetime | None, Field(description="When the bus took it.", exclude_if=is_none)
    ] = None


class EventMoment(WireModel):
    """One thing that happened to an event."""

    kind: Annotated[
        str,
        Field(
            description="accepted, published, routed, attempted, webhook_attempted, dead, redriven "
            "or replayed."
        ),
    ]
    at: UtcDatetime
    consumer: Annotated[
        str | None,
        Field(
            description="A stream, another service's consumer, or `subscription:<id>`.",
            exclude_if=is_none,
        ),
    ] = None
    attempt: Annotated[WireInt | None, Field(exclude_if=is_none)] = None
    details: Annotated[
        dict[str, str | int | None], Field(description="Codes, numbers and ids.")
    ] = Field(default_factory=dict)


class EventLife(EventSummary):
    """An event, and all that happened to it, in the order of time."""

    state: Annotated[
        str,
        Field(
            description="accepted: stored, the bus has it not yet. published: on its way. "
            "delivered: every consumer that reported has it. failing: one could not handle it and "
            "will be given it again. dead: one gave up."
        ),
    ]
    payload: dict[str, Any]
    moments: list[EventMoment]


class EventChain(WireModel):
    """Events of one correlation id, in the order of their acceptance."""

    events: list[EventSummary]
    has_more: bool
    next_cursor: Annotated[str | None, Field(description="`cursor` of the next page.")] = None


class EventTypeDescription(WireModel):
    """A type of event that has a schema."""

    event_type: str
    stream: str
    description: str
    schema_path: Annotated[str, Field(description="Where the schema is among the contracts.")]
    payload_schema: Annotated[dict[str, Any], Field(description="JSON Schema of the payload.")]
    example: Annotated[dict[str, Any], Field(description="A payload.")]


class EventTypeList(WireModel):
    """Every type that has a schema."""

    event_types: list[EventTypeDescription]
