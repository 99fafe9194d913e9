"""What consumers of other services report: their attempts with events of the bus."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.base import UtcDatetime, WireInt, WireModel, is_none
from contracts.messaging.publishing import ID_PATTERN
from contracts.problem import Problem

MAX_REPORTS = 100
"""Of one call."""

CONSUMER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}$"
ERROR_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"
MAX_DURATION_MS = 24 * 3600 * 1000

Outcome = Literal["done", "failed", "dead", "duplicate"]
ConsumerName = Annotated[
    str,
    Field(
        pattern=CONSUMER_PATTERN,
        description="Begins with the service's name: `<service>-<name>`.",
        examples=["ai-summaries"],
    ),
]
_OPTIONAL = Field(default=None, exclude_if=is_none)


class DeliveryReport(WireModel):
    """One attempt of one consumer with one event. Told again, it is the same attempt."""

    event_id: Annotated[str, Field(pattern=ID_PATTERN)]
    consumer: ConsumerName
    attempt: Annotated[
        WireInt,
        Field(
            ge=0,
            le=1_000_000,
            description="From 1, over all messages of the event; 0 when it was never tried.",
        ),
    ]
    outcome: Annotated[
        Outcome,
        Field(
            description=(
                "`dead`: given up after this attempt. `duplicate`: came again after this attempt "
                "had done it, and was not tried."
            )
        ),
    ]
    error: Annotated[
        str | None,
        Field(
            default=None,
            pattern=ERROR_PATTERN,
            exclude_if=is_none,
            description="A code, never a text of anybody's.",
        ),
    ]
    duration_ms: Annotated[WireInt, Field(ge=0, le=MAX_DURATION_MS)] = 0
    started_at: UtcDatetime
    event_type: Annotated[str | None, Field(pattern=ID_PATTERN, default=None, exclude_if=is_none)]
    tenant: Annotated[str | None, Field(pattern=ID_PATTERN, default=None, exclude_if=is_none)]
    replay_id: Annotated[str | None, Field(pattern=ID_PATTERN, default=None, exclude_if=is_none)]
    delivery_id: Annotated[
        str | None,
        Field(
            pattern=ID_PATTERN,
            default=None,
            exclude_if=is_none,
            description="The queue's id of the message: one that died twice has two.",
        ),
    ]


class DeliveryBatch(WireModel):
    """Attempts, each taken by itself."""

    deliveries: Annotated[list[DeliveryReport], Field(min_length=1, max_length=MAX_REPORTS)]


class DeliveryResult(WireModel):
    """What became of one report: 200, or its own problem."""

    index: WireInt
    event_id: str
    status: WireInt
    error: Annotated[Problem | None, _OPTIONAL]


class DeliveryBatchResult(WireModel):
    """One result for each report, in their order."""

    recorded: WireInt
    results: list[DeliveryResult]
