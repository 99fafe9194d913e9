"""Dead letters and their redrives, on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.base import UtcDatetime, WireInt, WireModel, is_none
from contracts.messaging.deliveries import CONSUMER_PATTERN, ERROR_PATTERN, Outcome
from contracts.messaging.publishing import ID_PATTERN

DEFAULT_LIMIT = 50
MAX_LIMIT = 100
MAX_CURSOR_LENGTH = 1024
MAX_RATE = 1_000
DEFAULT_RATE = 50
MAX_SAMPLES = 10

RedriveState = Literal["queued", "running", "completed", "cancelled", "failed"]
_OPTIONAL = Field(default=None, exclude_if=is_none)


class DeadLetterFilter(WireModel):
    """Which dead letters of a stream; what is not given chooses all."""

    type: Annotated[
        str | None,
        Field(pattern=ID_PATTERN, default=None, exclude_if=is_none, description="Of the event."),
    ]
    tenant: Annotated[str | None, Field(pattern=ID_PATTERN, default=None, exclude_if=is_none)]
    consumer: Annotated[
        str | None, Field(pattern=CONSUMER_PATTERN, default=None, exclude_if=is_none)
    ]
    error: Annotated[
        str | None,
        Field(
            pattern=ERROR_PATTERN,
            default=None,
            exclude_if=is_none,
            description="The code of its last attempt.",
        ),
    ]
    older_than: Annotated[
        UtcDatetime | None,
        Field(default=None, exclude_if=is_none, description="Died before that time."),
    ]
    newer_than: Annotated[
        UtcDatetime | None,
        Field(default=None, exclude_if=is_none, description="Died at that time or later."),
    ]


class LetterAttempt(WireModel):
    """One attempt of the consumer that gave the event up."""

    attempt: WireInt
    outcome: Outcome
    error: Annotated[str | None, _OPTIONAL]
    started_at: UtcDatetime
    duration_ms: WireInt


class DeadLetter(WireModel):
    """An event that a consumer gave up, with why. `event_url` leads to the event's whole life."""

    event_id: str
    event_type: str
    tenant: str
    stream: str
    consumer: str
    error: str
    attempts: WireInt
    redrives: Annotated[
        WireInt, Field(description="How often it was sent again and came back since.")
    ]
    died_at: UtcDatetime
    first_died_at: UtcDatetime
    history: Annotated[
        list[LetterAttempt], Field(description="The consumer's last attempts, oldest first.")
    ]
    event_url: str


class DeadLetterPage(WireModel):
    """Dead letters of a stream, those that died last first."""

    stream: str
    dead_letter_queue: str
    dead_letters: list[DeadLetter]
    has_more: bool
    next_cursor: Annotated[str | None, Field(description="`cursor` of the next page.")] = None


class RedriveCreate(WireModel):
    """Which letters to send again, and how fast."""

    filter: Annotated[DeadLetterFilter, Field(default_factory=DeadLetterFilter)]
    dry_run: bool = False
    rate: Annotated[WireInt, Field(ge=1, le=MAX_RATE, description="Events a second, at most.")] = (
        DEFAULT_RATE
    )


class LetterCount(WireModel):
    """How many letters share these."""

    event_type: str
    consumer: str
    error: str
    count: WireInt


class DryRun(WireModel):
    """What a redrive would send: nothing was sent."""

    stream: str
    dry_run: Literal[True] = True
    matched: WireInt
    counts: list[LetterCount]
    samples: Annotated[list[DeadLetter], Field(max_length=MAX_SAMPLES)]


class RedriveCounts(WireModel):
    """How far a redrive came: letters sent, and those that could not be."""

    sent: WireInt
    failed: Annotated[WireInt, Field(description="Their event is gone, or nothing takes it.")]


class Redrive(WireModel):
    """Letters of a stream on their way back to their consumers."""

    id: str
    stream: str
    state: RedriveState
    filter: DeadLetterFilter
    rate: WireInt
    counts: RedriveCounts
    requested_by: str
    created_at: UtcDatetime
    updated_at: UtcDatetime
    finished_at: Annotated[UtcDatetime | None, _OPTIONAL]
    error: Annotated[str | None, _OPTIONAL]


class RedrivePage(WireModel):
    """Redrives of a stream, newest first."""

    redrives: list[Redrive]
    has_more: bool
    next_cursor: Annotated[str | None, Field(description="`cursor` of the next page.")] = None
