"""What of the AI service leaves audit records: every call that touches a person's conversations."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from functions.ai.domain.budgets import Scope
from functions.ai.domain.models import Session, SessionFilter
from functions.ai.domain.turns import Turn
from servicekit.audit import AuditEntry, AuditTrail, JsonObject, Outcome
from servicekit.errors import AppError

_EVENT_TYPE = "user_action"
_SESSIONS = "ai/sessions"
_TURNS = "ai/turns"
# Whatever else a caller sends as an id may be anything, a person's data included.
_SESSION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)

T = TypeVar("T")


class Action(StrEnum):
    """The operations, by the name in their records."""

    CREATE_SESSION = "ai.session.create"
    READ_SESSION = "ai.session.read"
    LIST_SESSIONS = "ai.session.list"
    UPDATE_SESSION = "ai.session.update"
    DELETE_SESSION = "ai.session.delete"
    LIST_MESSAGES = "ai.message.list"
    ADD_MESSAGE = "ai.message.add"
    CHAT = "ai.chat"
    READ_TURN = "ai.turn.read"
    FOLLOW_TURN = "ai.turn.follow"
    CANCEL_TURN = "ai.turn.cancel"
    CREATE_JOB = "ai.job.create"
    READ_JOB = "ai.job.read"
    EXPORT_USER = "ai.user.export"
    READ_USAGE = "ai.usage.read"
    READ_BUDGET = "ai.budget.read"
    SET_BUDGET = "ai.budget.set"
    DELETE_BUDGET = "ai.budget.delete"
    READ_ROUTING = "ai.routing.read"
    SET_ROUTING = "ai.routing.set"
    DELETE_ROUTING = "ai.routing.delete"


@dataclass(frozen=True, slots=True)
class Subject:
    """What an operation is about. `user_id` is the person whose conversations they are: whoever
    calls this service acts for that person.
    """

    resource: str
    user_id: int | None = None
    session_id: str | None = None
    project_id: int | None = None

    @classmethod
    def session(cls, session: Session) -> Subject:
        """A session that exists, or is about to."""
        return cls(
            f"{_SESSIONS}/{session.session_id}",
            session.user_id,
            session.session_id,
            session.project_id,
        )

    @classmethod
    def named(
        cls, session_id: str, *, user_id: int | None = None, project_id: int | None = None
    ) -> Subject:
        """A session that a caller named, with the user and the project that it named."""
        known = session_id if _SESSION_ID.fullmatch(session_id) else None
        return cls(f"{_SESSIONS}/{known or 'unknown'}", user_id, known, project_id)

    @classmethod
    def turn(cls, turn: Turn | None) -> Subject:
        """A turn, or one that does not exist: whatever else a caller sends may be anything."""
        if turn is None:
            return cls(f"{_TURNS}/unknown")
        return cls(f"{_TURNS}/{turn.turn_id}", turn.user_id, turn.session_id, turn.project_id)

    @classmethod
    def listing(cls, wanted: SessionFilter) -> Subject:
        """The sessions of a project or a user."""
        return cls(_SESSIONS, user_id=wanted.user_id, project_id=wanted.project_id)

    @classmethod
    def user(cls, user_id: int) -> Subject:
        """All that is kept of a user."""
        return cls(f"ai/users/{user_id}", user_id=user_id)

    @classmethod
    def usage(cls, project_id: int | None, user_id: int | None) -> Subject:
        """What a project or a user used."""
        return cls("ai/usage", user_id=user_id, project_id=project_id)

    @classmethod
    def budget(cls, scope: Scope) -> Subject:
        """What a project or a user may spend."""
        return cls(f"ai/budgets/{scope.name}", user_id=scope.user_id, project_id=scope.project_id)

    @classmethod
    def routing(cls, project_id: int | None) -> Subject:
        """The routing policy of a project, or of the deployment."""
        scope = "default" if project_id is None else f"project-{project_id}"
        return cls(f"ai/routing/{scope}", project_id=project_id)


class Operations:
    """Records what is done with conversations, before it is done.

    Every method raises `AuditUnavailableError` when that fails: then nothing may be done.
    """

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    async def allow(
        self, action: Action, subject: Subject, facts: JsonObject | None = None
    ) -> None:
        """Records that the operation is allowed; `facts` are ids and names, never content."""
        await self._record("allowed", action, subject, facts or {})

    async def allow_with(
        self,
        action: Action,
        subject: Subject,
        preparation: Coroutine[Any, Any, T],
        facts: JsonObject | None = None,
    ) -> T:
        """The same beside `preparation`, which reads and changes nothing.

        Its result is handed out only once the record is there.
        """
        recording = self.allow(action, subject, facts)
        results: tuple[T, None] = await asyncio.gather(preparation, recording)
        return results[0]

    async def deny(self, action: Action, subject: Subject, error: AppError) -> AppError:
        """Records that the operation is refused; returns the `error` to raise."""
        await self._record("denied", action, subject, {"reason": error.code})
        return error

    async def _record(
        self, outcome: Outcome, action: Action, subject: Subject, facts: JsonObject
    ) -> None:
        project = {} if subject.project_id is None else {"project_id": subject.project_id}
        await self._trail.record(
            AuditEntry(
                event_type=_EVENT_TYPE,
                resource=subject.resource,
                action=action,
                outcome=outcome,
                user_id=subject.user_id,
                session_id=subject.session_id,
                metadata=project | dict(facts),
            )
        )
