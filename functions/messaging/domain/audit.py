"""Audit records of what people may do to events beyond publishing them."""

from __future__ import annotations

from enum import StrEnum

from servicekit.audit import AuditEntry, AuditTrail, JsonObject
from servicekit.errors import AppError

_EVENT_TYPE = "user_action"


class Action(StrEnum):
    """The operations on streams, by the name in their records."""

    CREATE_REDRIVE = "messaging.redrive.create"
    CANCEL_REDRIVE = "messaging.redrive.cancel"
    CREATE_REPLAY = "messaging.replay.create"
    CANCEL_REPLAY = "messaging.replay.cancel"


class Operations:
    """Records an operation before it is done.

    Both methods raise `AuditUnavailableError` when that fails: then nothing may be done.
    """

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    async def allow(self, action: Action, resource: str, facts: JsonObject) -> None:
        """It is allowed; `facts` are ids and names, never content."""
        await self._trail.record(
            AuditEntry(
                event_type=_EVENT_TYPE,
                resource=resource,
                action=action,
                outcome="allowed",
                metadata=facts,
            )
        )

    async def deny(self, action: Action, resource: str, error: AppError) -> AppError:
        """It is refused; returns the `error` to raise."""
        await self._trail.record(
            AuditEntry(
                event_type=_EVENT_TYPE,
                resource=resource,
                action=action,
                outcome="denied",
                metadata={"reason": error.code},
            )
        )
        return error
