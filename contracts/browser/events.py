"""The browser pool's events."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from contracts.base import UtcDatetime, WireId
from contracts.event import EventPayload, EventType


class BrowserSessionCreated(EventPayload):
    """A session was opened."""

    EVENT_TYPE: ClassVar[str] = "browser.session.created"

    session_id: Annotated[str, Field(min_length=1)]
    event_type: Literal["created"] = "created"
    user_id: WireId | None = None
    project_id: WireId | None = None
    metadata: Annotated[dict[str, Any], Field(default_factory=dict)]
    timestamp: UtcDatetime


class BrowserSessionClosed(EventPayload):
    """A session ended: it was closed, or nobody used it for so long that it expired."""

    EVENT_TYPE: ClassVar[str] = "browser.session.closed"

    session_id: Annotated[str, Field(min_length=1)]
    event_type: Literal["closed", "expired"] = "closed"
    user_id: WireId | None = None
    project_id: WireId | None = None
    metadata: Annotated[dict[str, Any], Field(default_factory=dict)]
    timestamp: UtcDatetime


_SESSION: dict[str, Any] = {
    "session_id": "01KASM0T3ZJ8W6Q1XN5V7D2B4C",
    "user_id": 3,
    "project_id": 7,
    "metadata": {},
    "timestamp": "2026-01-05T09:30:00.218000Z",
}

EVENTS = (
    EventType(BrowserSessionCreated, {**_SESSION, "event_type": "created"}),
    EventType(BrowserSessionClosed, {**_SESSION, "event_type": "expired"}),
)
