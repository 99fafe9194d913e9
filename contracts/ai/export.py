"""AI v1: a user's data, one line of JSON after the other."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.ai.money import UsageGroup
from contracts.ai.v1 import Message, SessionSummary
from contracts.base import UtcDatetime, WireInt, WireModel, is_none


class ExportCounts(WireModel):
    """How many lines of each type came before."""

    sessions: WireInt
    messages: WireInt
    summaries: WireInt = 0
    usage: WireInt


class ExportSummary(WireModel):
    """What models are told of a session's oldest messages instead of these."""

    text: str
    created_at: UtcDatetime


class ExportLine(WireModel):
    """One line. A session's messages follow it, oldest first, and its summary, if there is one;
    `end`: nothing is missing.
    """

    type: Annotated[str, Field(description="session, message, summary, usage or end.")]
    session_id: Annotated[
        str | None,
        Field(exclude_if=is_none, description="Of a message or a summary: its session's UUID."),
    ] = None
    session: Annotated[SessionSummary | None, Field(exclude_if=is_none)] = None
    message: Annotated[Message | None, Field(exclude_if=is_none)] = None
    summary: Annotated[ExportSummary | None, Field(exclude_if=is_none)] = None
    usage: Annotated[UsageGroup | None, Field(exclude_if=is_none)] = None
    counts: Annotated[ExportCounts | None, Field(exclude_if=is_none)] = None
