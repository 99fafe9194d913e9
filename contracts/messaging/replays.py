"""Replays of the archive, on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from contracts.base import UtcDatetime, WireModel, is_none
from contracts.messaging.publishing import ID_PATTERN
from contracts.messaging.streams import ALL_STREAMS

MAX_TYPES = 50

ReplayState = Literal["starting", "running", "completed", "cancelling", "cancelled", "failed"]
StreamName = Annotated[
    str, Field(json_schema_extra={"enum": list(ALL_STREAMS)}, examples=["user-events"])
]
EventType = Annotated[str, Field(pattern=ID_PATTERN)]
_OPTIONAL = Field(default=None, exclude_if=is_none)


class ReplayCreate(WireModel):
    """Which events come out of the archive again, and for which stream."""

    model_config = ConfigDict(validate_by_name=True)

    start: Annotated[
        UtcDatetime, Field(alias="from", description="Accepted at that time or later.")
    ]
    end: Annotated[UtcDatetime, Field(alias="to", description="Accepted before that time.")]
    stream: StreamName
    types: Annotated[
        list[EventType] | None,
        Field(
            min_length=1,
            max_length=MAX_TYPES,
            description="Only events of these types; of all of the stream's without it.",
        ),
    ] = None


class Replay(WireModel):
    """A replay and how far it is: `replayed_until` is the time of the last event that came."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    id: str
    stream: str
    types: list[str] | None = None
    start: Annotated[UtcDatetime, Field(alias="from")]
    end: Annotated[UtcDatetime, Field(alias="to")]
    state: ReplayState
    replayed_until: UtcDatetime | None = None
    requested_by: str
    created_at: UtcDatetime
    finished_at: Annotated[UtcDatetime | None, _OPTIONAL]
    error: Annotated[str | None, _OPTIONAL]


class ReplayPage(WireModel):
    """Replays, newest first, as they stood when somebody last asked for each."""

    replays: list[Replay]
    has_more: bool
    next_cursor: Annotated[str | None, Field(description="`cursor` of the next page.")] = None
