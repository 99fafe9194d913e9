"""Sessions and messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

from functions.ai.domain.inference import ImageRef, Opaque, Stop, Tool

Role = Literal["user", "assistant", "system"]
Status = Literal["active", "completed", "failed", "cancelled"]
ToolData = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation. `number` is its integer id, `next_sequence` the place of its next message,
    `turn_id` the turn that is at work on it.
    """

    session_id: str
    number: int
    project_id: int
    user_id: int
    card_id: int | None
    provider: str
    model: str
    status: Status
    context: Mapping[str, Any]
    created_at: datetime
    next_sequence: int = 1
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    turn_id: str | None = None

    @property
    def used_on(self) -> date:
        """The day of its last use, UTC."""
        return (self.updated_at or self.created_at).astimezone(UTC).date()


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that has no place in its session yet.

    `reply_to` is the sequence of the message that an answer answers; `incomplete` marks an answer
    that broke off. `turn_id` is the turn that a question began, `tools` and `max_output_tokens` are
    what it said of its answer, `images` what it shows.
    """

    number: int
    role: Role
    content: str
    created_at: datetime
    tool_calls: ToolData | None = None
    tool_results: ToolData | None = None
    tokens_used: int | None = None
    cost: str | None = None
    reply_to: int | None = None
    incomplete: bool = False
    turn_id: str | None = None
    tools: tuple[Tool, ...] = ()
    max_output_tokens: int | None = None
    opaque: tuple[Opaque, ...] = ()
    stop: Stop | None = None
    images: tuple[ImageRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """A message at its place: `sequence` counts from 1 within the session."""

    session_id: str
    session_number: int
    sequence: int
    draft: Draft


@dataclass(frozen=True, slots=True)
class SessionChanges:
    """What to write; `fields` holds status, context and card_id as far as they change."""

    fields: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Whose sessions to list; at least one is given."""

    project_id: int | None
    user_id: int | None


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Sessions, newest first; `next_position` is None at the end."""

    sessions: Sequence[Session]
    next_position: str | None
