"""Sessions: a record and a checkpoint, of which a live browser is only a cache."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from functions.browser.domain.session_errors import SessionLimitError, SessionNotFoundError
from servicekit.audit import AuditEntry, AuditTrail
from servicekit.clock import Clock
from servicekit.errors import StoreUnavailableError
from servicekit.idempotency import Claim, ClaimUpdate, Idempotency, Reference, Request
from servicekit.ids import new_ulid

Continuity = Literal["live", "rehydrated", "lost"]
EndReason = Literal["closed", "expired"]

CREATE = "browser.session.create"
CLOSE = "browser.session.close"

_RETRY_AFTER_SECONDS = 5
_logger = logging.getLogger(__name__)
_SESSION_ID = "session_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many sessions may be open, and for how long."""

    pool: int
    per_project: int
    per_user: int
    idle: timedelta
    age: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session. `epoch` counts its commands; `env_id` is where the last one that ended ran.

    `checkpoint_epoch` is of the last command whose checkpoint was stored. `due_at` is when the
    session expires unless it is used before; while a command is in flight, `busy_until` is when its
    lease is over.
    """

    session_id: str
    principal: str
    user_id: int | None
    project_id: int | None
    metadata: Mapping[str, Any]
    created_at: datetime
    last_activity: datetime
    due_at: datetime
    page_count: int = 0
    continuity: Continuity = "live"
    epoch: int = 0
    live_epoch: int | None = None
    env_id: str | None = None
    checkpoint_epoch: int | None = None
    busy_until: datetime | None = None

    def lives(self, now: datetime) -> bool:
        """Whether it may still be used at `now`; it does not expire under a command."""
        return self.due_at > now or (self.busy_until is not None and self.busy_until > now)

    def used(self, now: datetime, limits: Limits) -> Session:
        """The session after it was used at `now`: idle time starts anew, its age does not."""
        due_at = min(now + limits.idle, self.created_at + limits.age)
        return replace(self, last_activity=now, due_at=due_at)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place among the open sessions of `scope`, of which there are `most`."""

    scope: str
    reason: str
    most: int


def slots(session: Session, limits: Limits) -> list[Slot]:
    """The places that a session takes while it is open."""
    taken = [Slot("POOL", "pool", limits.pool)]
    if session.project_id is not None:
        taken.append(Slot(f"PROJECT#{session.project_id}", "project", limits.per_project))
    if session.user_id is not None:
        taken.append(Slot(f"USER#{session.user_id}", "user", limits.per_user))
    return taken


class SlotTakenError(Exception):
    """No place is left in `slot`; nothing was written."""

    def __init__(self, slot: Slot) -> None:
        super().__init__(slot.reason)
        self.slot = slot


class SessionStore(Protocol):
    """Where sessions live. Raises `StoreUnavailableError`."""

    async def create(
        self, session: Session, taken: Sequence[Slot], update: ClaimUpdate | None
    ) -> None:
        """Stores the session, takes its places and completes the claim, or does nothing.

        Raises `SlotTakenError`.
        """

    async def find(self, session_id: str) -> Session | None:
        """The session while it is open."""

    async def opened_by(self, principal: str) -> list[Session]:
        """Open sessions, oldest first."""

    async def end(
        self, session: Session, taken: Sequence[Slot], reason: EndReason, now: datetime
    ) -> bool:
        """Ends an open session and gives its places back, once; False if it ended before.

        An `expired` one only if it is due and no command is in flight: then False as well.
        """

    async def due(self, now: datetime, limit: int) -> list[Session]:
        """Open sessions that nobody used for too long, longest first."""

    async def held(self, scope: str) -> int:
        """How many places of `scope` are taken."""


class Checkpoints(Protocol):
    """Where states of sessions lie."""

    async def forget(self, session_id: str) -> None:
        """Removes the session's. Raises `StoreUnavailableError`; may be repeated."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a role, for a user that it names or for none."""

    principal: str
    user_id: int | None = None


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a session is made of."""

    user_id: int | None
    project_id: int | None
    metadata: Mapping[str, Any]


class Sessions:
    """Opens, finds and ends sessions. Each opening and end is recorded before it is done."""

    def __init__(
        self,
        store: SessionStore,
        idempotency: Idempotency,
        trail: AuditTrail,
        checkpoints: Checkpoints,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._idempotency = idempotency
        self._trail = trail
        self._limits = limits
        self._clock = clock

    async def create(self, caller: Caller, new: NewSession, request: Request | None) -> Session:
        """A new session, or that of the same request before, as it is now.

        Raises `SessionLimitError`, `SessionNotFoundError` for one that has ended meanwhile, and
        what `Idempotency.begin` raises.
        """

        async def replay(reference: Reference) -> Session:
            return await self.find(caller, str(reference[_SESSION_ID]))

        async def work(claim: Claim | None) -> Session:
            return await self._create(caller, new, claim)

        return await self._idempotency.once(request, work, replay)

    async def find(self, caller: Caller, session_id: str) -> Session:
        """The caller's open session. Raises `SessionNotFoundError`."""
        session = await self._store.find(session_id)
        if session is None or not session.lives(self._clock()) or not _owns(caller, session):
            raise SessionNotFoundError
        return session

    async def list(self, caller: Caller) -> list[Session]:
        """The caller's open sessions, oldest first."""
        now = self._clock()
        opened = await self._store.opened_by(caller.principal)
        return [s for s in opened if s.lives(now) and _owns(caller, s)]

    async def close(self, caller: Caller, session_id: str) -> None:
        """Ends a session, also one with a command in flight. Raises `SessionNotFoundError`."""
        session = await self.find(caller, session_id)
        await self._record(session, CLOSE)
        now = self._clock()
        if not await self._store.end(session, slots(session, self._limits), "closed", now):
            raise SessionNotFoundError
        await _forget(self._checkpoints, session)

    async def active(self) -> tuple[int, int]:
        """How many sessions are open in the whole pool, and how many more may be."""
        held = await self._store.held("POOL")
        return held, max(0, self._limits.pool - held)

    async def _create(self, caller: Caller, new: NewSession, claim: Claim | None) -> Session:
        now = self._clock()
        session = Session(
            session_id=new_ulid(),
            principal=caller.principal,
            user_id=new.user_id,
            project_id=new.project_id,
            metadata=new.metadata,
            created_at=now,
            last_activity=now,
            due_at=now + min(self._limits.idle, self._limits.age),
        )
        await self._record(session, CREATE)
        update = ClaimUpdate(claim, {_SESSION_ID: session.session_id}, True) if claim else None
        try:
            await self._store.create(session, slots(session, self._limits), update)
        except SlotTakenError as error:
            slot = error.slot
            raise SessionLimitError(
                f"{slot.most} sessions are open, which is the limit of the {slot.reason}.",
                retry_after=_RETRY_AFTER_SECONDS,
                extensions={"reason": slot.reason, "limit": slot.most},
            ) from None
        return session

    async def _record(self, session: Session, action: str) -> None:
        facts = {} if session.project_id is None else {"project_id": session.project_id}
        await self._trail.record(
            AuditEntry(
                event_type="user_action",
                resource=f"browser-session:{session.session_id}",
                action=action,
                outcome="allowed",
                user_id=session.user_id,
                metadata=facts,
            )
        )


class Reaper:
    """Ends sessions that nobody uses any more."""

    _AT_A_TIME = 100

    def __init__(
        self, store: SessionStore, checkpoints: Checkpoints, limits: Limits, clock: Clock
    ) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._limits = limits
        self._clock = clock

    async def reap(self) -> int:
        """How many of up to 100 due sessions were ended; those with a command in flight wait."""
        now = self._clock()
        ended = 0
        for session in await self._store.due(now, self._AT_A_TIME):
            if await self._store.end(session, slots(session, self._limits), "expired", now):
                ended += 1
                await _forget(self._checkpoints, session)
        return ended


async def _forget(checkpoints: Checkpoints, session: Session) -> None:
    """Of a session that has ended. What is left goes with the bucket's rule, a day later."""
    try:
        await checkpoints.forget(session.session_id)
    except StoreUnavailableError:
        _logger.warning("checkpoints left", extra={"session_id": session.session_id})


def _owns(caller: Caller, session: Session) -> bool:
    same_user = caller.user_id is None or caller.user_id == session.user_id
    return caller.principal == session.principal and same_user
