"""A command's way to the session's browser and back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from contracts.browser.steps import BatchResult, DeniedAddress, StepBatch
from contracts.browser.worker import ArtifactLink, Egress, WorkerCommand, WorkerReply
from functions.browser.domain.leases import Lease, Leases
from functions.browser.domain.session_errors import NotLiveError, WorkerUnavailableError
from functions.browser.domain.sessions import Caller, Session, Sessions
from servicekit.audit import AuditEntry, AuditTrail

DENIED = "browser.egress"

_MAKING_FILES = frozenset({"download", "pdf", "screenshot"})
_MOST_DENIALS = 20
_MAX_HOST_LENGTH = 253
_logger = logging.getLogger(__name__)


class Worker(Protocol):
    """The browser function."""

    async def run(self, command: WorkerCommand) -> WorkerReply:
        """Runs the batch.

        Raises `WorkerUnavailableError` when nothing was done, `OutcomeUnknownError` otherwise.
        """


class Objects(Protocol):
    """A session's objects, reached by links for one each: checkpoints, of which every command has
    its own, and files of steps, by name. Raises `StoreUnavailableError`.
    """

    async def checkpoint_reading(self, session_id: str, epoch: int, lasts: timedelta) -> str:
        """A link that reads it."""

    async def checkpoint_writing(self, session_id: str, epoch: int, lasts: timedelta) -> str:
        """A link that stores it."""

    async def file_reading(self, session_id: str, name: str) -> str:
        """A link that reads it, for an hour at most."""

    async def file_writing(self, session_id: str, name: str, lasts: timedelta) -> str:
        """A link that stores it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command came to, with the session as it left it."""

    session: Session
    result: BatchResult


class Dispatcher:
    """Runs commands, one at a time a session."""

    def __init__(
        self,
        sessions: Sessions,
        leases: Leases,
        worker: Worker,
        objects: Objects,
        trail: AuditTrail,
        egress: Egress,
    ) -> None:
        self._sessions = sessions
        self._leases = leases
        self._worker = worker
        self._objects = objects
        self._trail = trail
        self._egress = egress

    async def run(
        self,
        caller: Caller,
        session_id: str,
        batch: StepBatch,
        *,
        budget: timedelta,
        patience: timedelta = timedelta(),
    ) -> Answer:
        """Runs `batch` within `budget`, after waiting for `patience` for its turn.

        Raises `SessionNotFoundError`, `SessionBusyError`, `NotLiveError`, `WorkerUnavailableError`
        and `OutcomeUnknownError`. After the last the lease stays until it ends by itself, as the
        browser may still be at work.
        """
        await self._sessions.find(caller, session_id)
        lease = await self._leases.take(session_id, work=budget, patience=patience)
        reply = await self._ask(lease, batch, budget)
        result = reply.result
        if reply.refused:
            await self._leases.abandon(lease)
            raise NotLiveError(extensions={"continuity": result.continuity})
        after = _after(lease, reply)
        # First: a session that was closed meanwhile has been denied addresses all the same.
        await self._tell_denials(lease.session, result.denied)
        await self._leases.finish(lease, after)
        return Answer(after, await self._linked(lease, batch, result))

    async def _ask(self, lease: Lease, batch: StepBatch, budget: timedelta) -> WorkerReply:
        try:
            command = await self._command(lease, batch, budget)
        except BaseException:
            await self._leases.abandon(lease)
            raise
        try:
            return await self._worker.run(command)
        except WorkerUnavailableError:
            await self._leases.abandon(lease)
            raise

    async def _command(self, lease: Lease, batch: StepBatch, budget: timedelta) -> WorkerCommand:
        session, links = lease.session, self._objects
        stored = session.checkpoint_epoch
        session_id = session.session_id
        artifacts: dict[int, ArtifactLink] = {}
        for index, name in _file_names(lease, batch).items():
            url = await links.file_writing(session_id, name, budget)
            artifacts[index] = ArtifactLink(name=name, url=url)
        return WorkerCommand(
            session_id=session_id,
            epoch=lease.epoch,
            live_epoch=session.live_epoch,
            env_id=session.env_id,
            restore_from=None
            if stored is None
            else await links.checkpoint_reading(session_id, stored, budget),
            store_to=await links.checkpoint_writing(session_id, lease.epoch, budget),
            artifacts=artifacts,
            egress=self._egress,
            seconds=budget.total_seconds(),
            batch=batch,
        )

    async def _linked(self, lease: Lease, batch: StepBatch, result: BatchResult) -> BatchResult:
        """With links that read the files, in place of their names.

        What runs the browser may have been taken over by a page: only names that this command gave
        out become links, and all of them are of this session.
        """
        session_id = lease.session.session_id
        names = _file_names(lease, batch)
        results = []
        for one in result.results:
            told, artifact = one, one.artifact
            if artifact is not None:
                name = names.get(one.index)
                url = None
                if name is not None and artifact.url == name:
                    url = await self._objects.file_reading(session_id, name)
                linked = artifact.model_copy(update={"url": url})
                told = one.model_copy(update={"artifact": linked})
            results.append(told)
        return result.model_copy(update={"session_id": session_id, "results": results})

    async def _tell_denials(self, session: Session, denied: Sequence[DeniedAddress]) -> None:
        """Records what the wall refused, each address once, and how often.

        The batch is done by then: a record that cannot be written is logged, not the caller's
        error.
        """
        try:
            for one in denied[:_MOST_DENIALS]:
                await self._trail.record(_record(session, one))
        except Exception:
            _logger.exception("denials not recorded", extra={"session_id": session.session_id})


def _file_names(lease: Lease, batch: StepBatch) -> dict[int, str]:
    """The names of the files that steps make, by the step's index: they sort as they were made."""
    return {
        index: f"{lease.epoch:06}-{index:02}-{step.action}"
        for index, step in enumerate(batch.steps)
        if step.action in _MAKING_FILES
    }


def _after(lease: Lease, reply: WorkerReply) -> Session:
    return replace(
        lease.session,
        env_id=reply.env_id,
        live_epoch=lease.epoch,
        continuity=reply.result.continuity,
        page_count=len(reply.result.pages),
        checkpoint_epoch=lease.epoch if reply.checkpoint_stored else lease.session.checkpoint_epoch,
    )


def _record(session: Session, denied: DeniedAddress) -> AuditEntry:
    return AuditEntry(
        event_type="security_event",
        resource=f"browser-session:{session.session_id}",
        action=DENIED,
        outcome="denied",
        user_id=session.user_id,
        metadata={
            "host": denied.host[:_MAX_HOST_LENGTH],
            "port": denied.port,
            "rule": denied.rule,
            "times": denied.times,
            "project_id": session.project_id,
        },
    )
