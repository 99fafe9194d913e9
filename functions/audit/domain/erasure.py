"""What changes something beside adding, and is recorded before it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from functions.audit.domain.errors import SealingError, SubjectNotFoundError
from functions.audit.domain.ports import IntakeQueue, SealNow, SubjectKeys
from servicekit.clock import Clock, to_text
from servicekit.ids import new_ulid

ERASE_ACTION = "audit.erase_subject"
FLUSH_ACTION = "audit.flush"


@dataclass(frozen=True, slots=True)
class Operation:
    """Who asks, and in which request."""

    principal: str
    request_id: str | None


class ControlService:
    """Seals on demand, and erases persons."""

    def __init__(
        self, keys: SubjectKeys, sealer: SealNow, intake: IntakeQueue, clock: Clock
    ) -> None:
        self._keys = keys
        self._sealer = sealer
        self._intake = intake
        self._clock = clock

    async def flush(self, operation: Operation) -> Mapping[str, object]:
        """Seals what was accepted before; the sealer's answer. Raises `SealingError`."""
        event = {"event_type": "system_event", "resource": "audit/log", "action": FLUSH_ACTION}
        await self._record(event, operation)
        answer = await self._sealer.seal()
        if not answer.get("complete", True):
            raise SealingError(retry_after=1)
        return answer

    async def erase(self, user_id: int, operation: Operation) -> str:
        """Deletes the person's key; the id of the event that tells of it.

        The event comes first: an erasure that cannot be recorded does not happen, and a recorded
        one that failed can be asked for again. Raises `SubjectNotFoundError`.
        """
        if user_id not in await self._keys.find([user_id]):
            raise SubjectNotFoundError
        event = {
            "event_type": "security_event",
            "user_id": user_id,
            "resource": f"audit/subject/{user_id}",
            "action": ERASE_ACTION,
            "severity": "high",
        }
        event_id = await self._record(event, operation)
        await self._keys.delete(user_id)
        return event_id

    async def _record(self, event: Mapping[str, object], operation: Operation) -> str:
        event_id = new_ulid()
        told = {**event, "event_id": event_id, "occurred_at": to_text(self._clock())}
        if operation.request_id is not None:
            told["request_id"] = operation.request_id
        await self._intake.send(told, operation.principal)
        return event_id
