"""What of subscriptions leaves audit records: every call, and what the service does itself."""

from __future__ import annotations

import re
from enum import StrEnum

from servicekit.audit import AuditEntry, AuditTrail, JsonObject, Outcome
from servicekit.errors import AppError

_EVENT_TYPE = "system_action"
_RESOURCE = "messaging/subscriptions"
# Whatever else a caller sends as an id may be anything.
_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}", re.ASCII)


class Action(StrEnum):
    """The operations, by the name in their records."""

    CREATE = "messaging.subscription.create"
    LIST = "messaging.subscription.list"
    READ = "messaging.subscription.read"
    CHANGE = "messaging.subscription.change"
    DELETE = "messaging.subscription.delete"
    ROTATE = "messaging.subscription.rotate_secret"
    TEST = "messaging.subscription.test"
    DELIVERIES = "messaging.subscription.list_deliveries"
    DISABLE = "messaging.subscription.disable"


class SubscriptionAudit:
    """Records operations before they are done.

    Every method raises `AuditUnavailableError` when that fails: then nothing may be done.
    """

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    async def allow(
        self, action: Action, subscription_id: str | None = None, facts: JsonObject | None = None
    ) -> None:
        """Records that the operation is allowed; `facts` are ids and names, never a secret, nor a
        URL, which may hold one.
        """
        await self._record("allowed", action, subscription_id, facts or {})

    async def deny(self, action: Action, subscription_id: str | None, error: AppError) -> AppError:
        """Records that the operation is refused; returns the `error` to raise."""
        await self._record("denied", action, subscription_id, {"reason": error.code})
        return error

    async def _record(
        self, outcome: Outcome, action: Action, subscription_id: str | None, facts: JsonObject
    ) -> None:
        resource = _RESOURCE
        if subscription_id is not None:
            known = _ID.fullmatch(subscription_id)
            resource = f"{_RESOURCE}/{subscription_id if known else 'unknown'}"
        await self._trail.record(
            AuditEntry(
                event_type=_EVENT_TYPE,
                resource=resource,
                action=action,
                outcome=outcome,
                metadata=facts,
            )
        )
