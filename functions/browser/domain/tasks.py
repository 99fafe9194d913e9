"""Whole tasks: a batch in a session of its own, which ends with it."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from contracts.browser.steps import BatchResult, StepBatch
from functions.browser.domain.dispatch import Dispatcher
from functions.browser.domain.session_errors import SessionNotFoundError
from functions.browser.domain.sessions import Caller, NewSession, Sessions


class Tasks:
    """Runs batches whose session nobody has to end."""

    def __init__(self, sessions: Sessions, dispatcher: Dispatcher) -> None:
        self._sessions = sessions
        self._dispatcher = dispatcher

    async def run(
        self, caller: Caller, new: NewSession, batch: StepBatch, budget: timedelta
    ) -> BatchResult:
        """What came of the batch. A process that dies leaves its session to the reaper.

        Raises what opening a session and running a batch raise.
        """
        session = await self._sessions.create(caller, new, None)
        try:
            answer = await self._dispatcher.run(caller, session.session_id, batch, budget=budget)
            return answer.result
        finally:
            with suppress(SessionNotFoundError):
                await self._sessions.close(caller, session.session_id)
