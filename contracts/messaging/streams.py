"""Which stream an event goes to, by its type: what the infrastructure's rules and the code read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

STREAMS: Mapping[str, Sequence[str]] = {
    "user-events": ("user.created", "user.updated", "user.deleted"),
    "project-events": ("project.created", "project.archived"),
    "kanban-events": ("card.created", "card.moved"),
    "ai-events": ("ai.job.queued", "ai.job.updated"),
    "automation-events": ("automation.job.started", "automation.job.completed"),
    "browser-events": ("browser.session.created", "browser.session.closed"),
    "audit-events": ("audit.event",),
}
"""The types of each stream but the default one."""

DEFAULT_STREAM = "default-events"
"""Of every type that no other stream has."""

ALL_STREAMS = (*STREAMS, DEFAULT_STREAM)

MAX_RECEIVES = 3
"""After so many failed tries an event of a stream, or of any consumer, is a dead letter."""

_BY_TYPE = {event_type: stream for stream, types in STREAMS.items() for event_type in types}

ROUTED_TYPES = tuple(_BY_TYPE)
"""Every type that has a stream of its own kind."""


def stream_of(event_type: str) -> str:
    """The stream that events of the type go to."""
    return _BY_TYPE.get(event_type, DEFAULT_STREAM)


def dead_letters_of(stream: str) -> str:
    """The name under which a stream's dead letters are known."""
    return f"{stream}-dlq"
