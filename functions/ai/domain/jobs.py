"""Jobs: turns that wait in a queue. A job's id is its turn's."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from functions.ai.domain.audit import Action, Operations, Subject
from functions.ai.domain.errors import JobNotFoundError
from functions.ai.domain.ports import TurnStore
from functions.ai.domain.turn_service import TurnService
from functions.ai.domain.turn_starter import ChatCommand, TurnStarter
from functions.ai.domain.turns import Job, Priority, Turn
from servicekit.context import current_context
from servicekit.idempotency import Claim, Idempotency, Reference, Request


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job that was accepted."""

    job_id: str
    session_id: str


class JobService:
    """What callers do with jobs. All of it is recorded before it is done."""

    def __init__(
        self,
        starter: TurnStarter,
        store: TurnStore,
        turns: TurnService,
        idempotency: Idempotency,
        operations: Operations,
    ) -> None:
        self._starter = starter
        self._store = store
        self._turns = turns
        self._idempotency = idempotency
        self._operations = operations

    async def create(
        self, command: ChatCommand, priority: Priority, request: Request | None
    ) -> QueuedJob:
        """Stores the message and its queued turn, whose place in the session it takes at once.

        The table's stream brings it to its queue: either both happen or none. A key that was used
        before gives the same job again, whatever became of it. Raises the errors of
        `TurnStarter.begin` and of idempotency.
        """

        async def work(claim: Claim | None) -> QueuedJob:
            job = _requested(priority)
            turn = (await self._starter.begin(command, claim, Action.CREATE_JOB, job)).turn
            return QueuedJob(turn.turn_id, turn.session_id)

        async def replay(reference: Reference) -> QueuedJob:
            session = await self._starter.permitted(
                command, reference["session_id"], Action.CREATE_JOB, even_ended=True
            )
            await self._operations.allow(Action.CREATE_JOB, Subject.session(session))
            return QueuedJob(reference["turn_id"], reference["session_id"])

        return await self._idempotency.once(request, work, replay)

    async def get(self, job_id: str) -> Turn:
        """The job's turn as it is now. Raises `JobNotFoundError`, also for a turn that is none."""
        turn = await self._store.get(job_id)
        if turn is None or turn.job is None:
            raise await self._operations.deny(
                Action.READ_JOB, Subject.turn(None), JobNotFoundError()
            )
        await self._operations.allow(Action.READ_JOB, Subject.turn(turn))
        return await self._turns.settled(turn)


def progress(turn: Turn) -> float:
    """How much of the job is done: its text is in the turn's events, and of unknown length."""
    return 1.0 if turn.ended else 0.0


def result(turn: Turn) -> dict[str, Any] | None:
    """What came of an ended job: ids and usage, never the text."""
    if not turn.ended:
        return None
    return {
        "turn_id": turn.turn_id,
        "message_id": turn.message_id,
        "usage": asdict(turn.usage) if turn.usage else None,
        "usage_estimated": turn.usage_estimated,
        "delivered_tokens": turn.delivered_tokens,
        "cost": turn.cost,
        "stop": turn.stop,
    }


def _requested(priority: Priority) -> Job:
    context = current_context()
    if context is None:
        return Job(priority)
    return Job(priority, context.request_id, context.trace.traceparent)
