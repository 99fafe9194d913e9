"""An event as the service keeps it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from contracts.messaging.streams import stream_of


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event from its acceptance on.

    `payload` is compact JSON text. `published_at` is when the bus took it; until then a sweep finds
    it. `fingerprint` is the SHA-256 of what its publisher sent, to tell a repetition from another
    event under the same id. `ordering_sequence` is the event's place among those of its
    `ordering_key`, from 1; the store draws it, so that only what was read from there has it.
    """

    event_id: str
    event_type: str
    payload: str
    source: str
    tenant: str
    correlation_id: str
    occurred_at: datetime
    accepted_at: datetime
    fingerprint: str
    causation_id: str | None = None
    traceparent: str | None = None
    request_id: str | None = None
    user_id: int | None = None
    ordering_key: str | None = None
    retry_count: int = 0
    published_at: datetime | None = None
    ordering_sequence: int | None = None

    @property
    def stream(self) -> str:
        """Where its type leads it."""
        return stream_of(self.event_type)

    @cached_property
    def data(self) -> dict[str, Any]:
        """The payload, parsed."""
        parsed: dict[str, Any] = json.loads(self.payload)
        return parsed
