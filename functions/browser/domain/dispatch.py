"""A command's way to the session's browser and back."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol

from functions.browser.domain.leases import Lease, Leases
from functions.browser.domain.session_errors import NotLiveError, WorkerUnavailableError
from functions.browser.domain.sessions import Caller, Continuity, Session, Sessions
from servicekit.audit import AuditEntry, AuditTrail

DENIED = "browser.egress"

_MOST_DENIALS = 20
_MAX_HOST_LENGTH = 253
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Denial:
    """An address that the egress wall kept the browser from, and the rule by which."""

    host: str
    port: int
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What the browser function gets: the batch, and all it needs to find or rebuild the browser.

    The browser is the session's own where it remembers `live_epoch` in `env_id`. `restore_from` and
    `store_to` are links for this one session's checkpoint; `seconds` is the batch's whole budget.
    """

    session_id: str
    epoch: int
    live_epoch: int | None
    env_id: str | None
    restore_from: str | None
    store_to: str
    require_live: bool
    seconds: float
    batch: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the browser function says. `refused` means: not live, and therefore nothing done."""

    env_id: str
    continuity: Continuity
    lost: Sequence[str]
    page_count: int
    checkpoint_stored: bool
    refused: bool
    denials: Sequence[Denial]
    results: Mapping[str, Any]


class Worker(Protocol):
    """The browser function."""

    async def run(self, command: Command) -> Reply:
        """Runs the batch.

        Raises `WorkerUnavailableError` when nothing was done, `OutcomeUnknownError` otherwise.
        """


class Checkpoints(Protocol):
    """Links to a session's checkpoints, one object for each command that stored one."""

    async def reading(self, session_id: str, epoch: int, lasts: timedelta) -> str:
        """A link that reads it."""

    async def writing(self, session_id: str, epoch: int, lasts: timedelta) -> str:
        """A link that stores it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command came to, with the session as it left it."""

    session: Session
    reply: Reply


class Dispatcher:
    """Runs commands, one at a time a session."""

    def __init__(
        self,
        sessions: Sessions,
        leases: Leases,
        worker: Worker,
        checkpoints: Checkpoints,
        trail: AuditTrail,
    ) -> None:
        self._sessions = sessions
        self._leases = leases
        self._worker = worker
        self._checkpoints = checkpoints
        self._trail = trail

    async def run(
        self,
        caller: Caller,
        session_id: str,
        batch: Mapping[str, Any],
        *,
        budget: timedelta,
        patience: timedelta = timedelta(),
        require_live: bool = False,
    ) -> Answer:
        """Runs `batch` within `budget`, after waiting for `patience` for its turn.

        Raises `SessionNotFoundError`, `SessionBusyError`, `NotLiveError`, `WorkerUnavailableError`
        and `OutcomeUnknownError`. After the last the lease stays until it ends by itself, as the
        browser may still be at work.
        """
        await self._sessions.find(caller, session_id)
        lease = await self._leases.take(session_id, work=budget, patience=patience)
        reply = await self._ask(lease, batch, budget, require_live=require_live)
        if reply.refused:
            await self._leases.abandon(lease)
            raise NotLiveError(extensions={"continuity": reply.continuity})
        after = _after(lease, reply)
        # First: a session that was closed meanwhile has been denied addresses all the same.
        await self._tell_denials(lease.session, reply.denials)
        await self._leases.finish(lease, after)
        return Answer(after, reply)

    async def _ask(
        self, lease: Lease, batch: Mapping[str, Any], budget: timedelta, *, require_live: bool
    ) -> Reply:
        try:
            command = await self._command(lease, batch, budget, require_live=require_live)
        except BaseException:
            await self._leases.abandon(lease)
            raise
        try:
            return await self._worker.run(command)
        except WorkerUnavailableError:
            await self._leases.abandon(lease)
            raise

    async def _command(
        self, lease: Lease, batch: Mapping[str, Any], budget: timedelta, *, require_live: bool
    ) -> Command:
        session = lease.session
        stored = session.checkpoint_epoch
        links = self._checkpoints
        return Command(
            session_id=session.session_id,
            epoch=lease.epoch,
            live_epoch=session.live_epoch,
            env_id=session.env_id,
            restore_from=None
            if stored is None
            else await links.reading(session.session_id, stored, budget),
            store_to=await links.writing(session.session_id, lease.epoch, budget),
            require_live=require_live,
            seconds=budget.total_seconds(),
            batch=batch,
        )

    async def _tell_denials(self, session: Session, denials: Sequence[Denial]) -> None:
        """Records what the wall refused, each address once, and how often.

        The batch is done by then: a record that cannot be written is logged, not the caller's
        error.
        """
        try:
            for denial, times in Counter(denials).most_common(_MOST_DENIALS):
                await self._trail.record(_record(session, denial, times))
        except Exception:
            _logger.exception("denials not recorded", extra={"session_id": session.session_id})


def _after(lease: Lease, reply: Reply) -> Session:
    return replace(
        lease.session,
        env_id=reply.env_id,
        live_epoch=lease.epoch,
        continuity=reply.continuity,
        page_count=reply.page_count,
        checkpoint_epoch=lease.epoch if reply.checkpoint_stored else lease.session.checkpoint_epoch,
    )


def _record(session: Session, denial: Denial, times: int) -> AuditEntry:
    return AuditEntry(
        event_type="security_event",
        resource=f"browser-session:{session.session_id}",
        action=DENIED,
        outcome="denied",
        user_id=session.user_id,
        metadata={
            "host": denial.host[:_MAX_HOST_LENGTH],
            "port": denial.port,
            "rule": denial.rule,
            "times": times,
            "project_id": session.project_id,
        },
    )
