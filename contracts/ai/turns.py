"""AI v1: turns, and the events of a turn's stream."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from contracts.ai.v1 import Usd
from contracts.base import UtcDatetime, WireInt, WireModel, is_none

MAX_TURN_ID_LENGTH = 64
"""Characters of a turn_id; the service makes UUIDs of 36."""

MAX_EVENT_ID = 2**31 - 1
"""Of `Last-Event-ID`: the sequence of an event."""

Protocol = Literal["v1", "events", "ai-sdk"]
"""How a stream tells a turn: as StreamingChatChunks, as TurnEvents, or as the Vercel AI SDK's UI
messages."""


class TokenUsage(WireModel):
    """Billed tokens in buckets that share none: each token is in one of them."""

    input: Annotated[WireInt, Field(description="Neither read from a cache nor kept in one.")]
    output: Annotated[WireInt, Field(description="Without reasoning.")]
    cache_read: WireInt
    cache_write: Annotated[WireInt, Field(description="Kept for minutes.")]
    cache_write_1h: Annotated[WireInt, Field(description="Kept for an hour.")] = 0
    reasoning: WireInt


class TurnError(WireModel):
    """Why a turn failed."""

    code: Annotated[str, Field(examples=["provider_unavailable"])]
    title: str
    status: Annotated[WireInt, Field(description="The HTTP status of the same error.")]


class Turn(WireModel):
    """A question to a model and what became of it."""

    turn_id: Annotated[str, Field(examples=["0199f3a2-7c1e-7d8b-9a51-3f0c2b6d4e12"])]
    session_id: str
    project_id: WireInt
    user_id: WireInt
    provider: str
    model: str
    status: Annotated[str, Field(description="queued, running, completed, failed or cancelled.")]
    cancelling: Annotated[bool, Field(description="It was asked to stop and has not yet.")]
    attempt: Annotated[WireInt, Field(description="Counts from 1: how often it was begun.")]
    message_id: Annotated[
        WireInt | None, Field(description="Of the stored answer, or of the part there is.")
    ] = None
    usage: Annotated[TokenUsage | None, Field(description="What the provider billed.")] = None
    usage_estimated: Annotated[
        bool, Field(description="The provider did not tell all of it: the answer broke off.")
    ] = False
    delivered_tokens: Annotated[
        WireInt | None,
        Field(description="Of the answer, as far as it was kept: of a cancelled turn."),
    ] = None
    cost: Usd | None = None
    stop: Annotated[
        str | None, Field(description="Why the answer ended: end, length, tool_calls or refused.")
    ] = None
    error: TurnError | None = None
    created_at: UtcDatetime
    updated_at: UtcDatetime


class TurnEvent(WireModel):
    """One event of a turn's stream; its `sequence` is the `id:` of its lines."""

    sequence: WireInt
    type: Annotated[
        str,
        Field(
            description="start: `turn` is the turn's state, and `sequence` that of the event "
            "before the first one to come. text: `text` follows what came before. restart: the "
            "answer begins anew, what came before no longer counts. end: `turn` is the turn's "
            "last state."
        ),
    ]
    text: Annotated[str | None, Field(exclude_if=is_none)] = None
    provider: Annotated[str | None, Field(exclude_if=is_none)] = None
    model: Annotated[str | None, Field(exclude_if=is_none)] = None
    tool_calls: Annotated[list[dict[str, Any]] | None, Field(exclude_if=is_none)] = None
    turn: Annotated[Turn | None, Field(exclude_if=is_none)] = None
