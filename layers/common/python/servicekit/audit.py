"""Audit records of permissioned operations, allowed and denied, as a service leaves them.

A service decides, records, and then acts: an operation whose record cannot be written is refused.
The record goes into an outbox in the service's own table, under the next number of a producer's
gapless counter; `audit_sender` brings it to the audit sink from there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from servicekit.clock import Clock, to_text, utc_now
from servicekit.context import current_context
from servicekit.errors import AppError
from servicekit.ids import new_ulid

MAX_METADATA_BYTES = 4_096
"""Of an entry's metadata as compact JSON: ids and small facts, a batch of a hundred in one body."""

Outcome = Literal["allowed", "denied"]
JsonObject = Mapping[str, Any]

_OWN_METADATA = frozenset({"outcome", "caller", "traceparent"})


class AuditUnavailableError(AppError):
    """The operation was not done because its audit record could not be written."""

    code = "audit_unavailable"
    status = 503
    title = "The operation could not be recorded, and was not done"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who wanted to do what to what, and whether it was allowed.

    `metadata` holds ids and small facts, never content; `outcome`, `caller` and `traceparent` are
    added to it. Raises `ValueError` for what must not be recorded.
    """

    event_type: str
    resource: str
    action: str
    outcome: Outcome
    user_id: int | None = None
    session_id: str | None = None
    metadata: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken = _OWN_METADATA & self.metadata.keys()
        if taken:
            raise ValueError(f"metadata of {self.action} has {', '.join(sorted(taken))}")
        size = len(_to_json(self.metadata).encode())
        if size > MAX_METADATA_BYTES:
            raise ValueError(f"metadata of {self.action} has {size} bytes")


class Outbox(Protocol):
    """Where records wait for the audit sink."""

    async def append(self, event: JsonObject) -> None:
        """Stores the event under its producer's next number, for good or not at all.

        Raises `AuditUnavailableError`; the event may be stored all the same.
        """


class AuditTrail:
    """Records operations."""

    def __init__(self, outbox: Outbox, clock: Clock = utc_now) -> None:
        self._outbox = outbox
        self._clock = clock

    async def record(self, entry: AuditEntry) -> None:
        """Stores the entry; only then may its operation have an effect.

        Raises `AuditUnavailableError`.
        """
        await self._outbox.append(self._event(entry))

    def _event(self, entry: AuditEntry) -> JsonObject:
        """As `POST /api/v1/events/batch` of the audit sink takes it, but for producer and sequence.

        The event id is made here, so however often it is sent, it is one event.
        """
        context = current_context()
        metadata = {**entry.metadata, "outcome": entry.outcome}
        event: dict[str, Any] = {
            "event_id": new_ulid(),
            "occurred_at": to_text(self._clock()),
            "event_type": entry.event_type,
            "resource": entry.resource,
            "action": entry.action,
            "metadata": metadata,
        }
        if context is not None:
            event["request_id"] = context.request_id
            metadata["traceparent"] = context.trace.traceparent
            if context.principal is not None:
                # Of a role's ARN the name: the account is everybody's.
                metadata["caller"] = context.principal.rpartition("/")[2]
        optional = {"user_id": entry.user_id, "session_id": entry.session_id}
        return event | {name: value for name, value in optional.items() if value is not None}


def _to_json(value: JsonObject) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
