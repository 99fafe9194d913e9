"""Makes a session's next summary: of the present one, and of the messages that follow it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from functions.ai.domain.asking import Answer, Asker, Question
from functions.ai.domain.billing import Billing
from functions.ai.domain.catalogue import Catalogue, Model
from functions.ai.domain.errors import (
    ContextTooLongError,
    HoldsExpiredError,
    ProviderTimeoutError,
    SessionNotFoundError,
)
from functions.ai.domain.inference import Said
from functions.ai.domain.models import Session
from functions.ai.domain.policies import Policies
from functions.ai.domain.ports import SessionStore
from functions.ai.domain.runner import PASSING
from functions.ai.domain.summaries import Summary
from functions.ai.domain.summary_ports import SummaryStore
from functions.ai.domain.summary_prompts import room_for, summary_prompt
from functions.ai.domain.transcript import Piece, read_piece
from functions.ai.domain.turns import Bill, RestartEvent, SummaryDue, Turn
from servicekit.clock import Clock
from servicekit.errors import AppError
from servicekit.ids import new_uuid7

PIECE_SECONDS = 240
"""How long a model may work on a piece."""

BEGIN_SECONDS = 600
"""After that a worker begins no other piece: its function ends after 15 minutes."""

LEASE_SECONDS = 900
"""How long a session is taken: longer than a worker may be at it, which lets go of it when it is
done. A crash delays the next summary by as much.
"""

_MOST_SHARES = 8

_logger = logging.getLogger(__name__)

T = TypeVar("T")


class SummaryUnfinishedError(Exception):
    """There is more to do: the time of this worker is over, or another one has the session, for so
    many `seconds` at most.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class _Errand:
    """`billing.Errand`: one piece."""

    session_id: str
    project_id: int
    user_id: int
    updated_at: datetime
    turn_id: str = field(default_factory=new_uuid7)
    attempt: int = 1


class _Nobody:
    """`asking.Listener`."""

    def say(self, said: Said) -> None:
        """Is not told."""

    def restart(self, event: RestartEvent) -> None:
        """Is not told."""


class Summariser:
    """Brings a session's summary up to where a turn's prompt began."""

    def __init__(
        self,
        store: SummaryStore,
        sessions: SessionStore,
        policies: Policies,
        catalogue: Catalogue,
        asker: Asker,
        billing: Billing,
        clock: Clock,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._policies = policies
        self._catalogue = catalogue
        self._asker = asker
        self._billing = billing
        self._clock = clock

    async def summarise(self, turn: Turn, due: SummaryDue) -> None:
        """Returns when nothing is left to do, or nothing can be done: the next turn whose prompt
        leaves something out asks again.

        Raises `SummaryUnfinishedError`, and the errors of `PASSING`: then it is to be done again.
        """
        session = await self._sessions.get(turn.session_id)
        policy = await self._policies.of(turn.project_id)
        if session is None or session.status != "active" or policy.summaries is None:
            return
        if await self._told(session) >= due.up_to:
            return
        named = policy.summaries.model
        try:
            model = self._catalogue.find(
                named.provider if named else session.provider,
                named.model if named else session.model,
            )
            await self._bring_up(session, model, due.up_to)
        except SessionNotFoundError:
            _logger.info("session gone", extra={"session_id": session.session_id})
        except PASSING:
            raise
        except AppError as error:
            _logger.warning(
                "summary not made",
                extra={"session_id": session.session_id, "error_code": error.code},
            )

    async def _told(self, session: Session) -> int:
        summary = await self._store.summary(session.session_id)
        return summary.up_to if summary else 0

    async def _bring_up(self, session: Session, model: Model, up_to: int) -> None:
        now = int(self._clock().timestamp())
        lease = now + LEASE_SECONDS
        taken_until = await self._store.take(session.session_id, now, lease)
        if taken_until is not None:
            raise SummaryUnfinishedError(taken_until - now)
        try:
            await self._in_pieces(session, model, up_to, lease)
        finally:
            await self._store.leave(session.session_id, lease)

    async def _in_pieces(self, session: Session, model: Model, up_to: int, lease: int) -> None:
        """Each fits into the model's window, and is stored: a crash loses one."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + BEGIN_SECONDS
        shares = 1
        while True:
            summary = await self._store.summary(session.session_id)
            told = summary.up_to if summary else 0
            room = room_for(model, summary) // shares
            piece = await read_piece(self._sessions, session, after=told, up_to=up_to, room=room)
            if not piece.text:
                return
            if loop.time() >= deadline:
                raise SummaryUnfinishedError(0)
            try:
                kept = await self._make(session, model, summary, piece, lease)
            except ContextTooLongError:
                if shares == _MOST_SHARES:
                    raise
                # The provider counts more tokens than we do, or another model stands in.
                shares *= 2
                continue
            if not kept:
                return

    async def _make(
        self, session: Session, model: Model, summary: Summary | None, piece: Piece, lease: int
    ) -> bool:
        """Whether the summary was stored. Raises what the model failed with."""
        errand = _Errand(session.session_id, session.project_id, session.user_id, self._clock())
        answer = await self._ask(errand, model, summary, piece)
        text = _said(answer)
        if text is None:
            await self._settled(errand, answer, self._store.pay)
            if answer.error is not None:
                raise answer.error
            _logger.warning("summary empty", extra={"session_id": session.session_id})
            return False
        made = Summary(text, piece.up_to, self._clock())
        return await self._settled(
            errand,
            answer,
            lambda bill: self._store.keep(session.session_id, made, bill, lease),
        )

    async def _ask(
        self, errand: _Errand, model: Model, summary: Summary | None, piece: Piece
    ) -> Answer:
        answer = Answer(model)
        question = Question(errand, model, lambda asked: summary_prompt(asked, summary, piece))
        try:
            async with asyncio.timeout(PIECE_SECONDS):
                await self._asker.ask(question, answer, _Nobody())
        except TimeoutError:
            answer.error = ProviderTimeoutError(f"It took more than {PIECE_SECONDS} s.")
        return answer

    async def _settled(
        self, errand: _Errand, answer: Answer, store: Callable[[Bill], Awaitable[T]]
    ) -> T:
        while True:
            bill = await self._billing.bill(errand, answer.reservation, answer.calls, None)
            try:
                return await store(bill)
            except HoldsExpiredError:
                answer.reservation = await self._billing.refreshed(answer.reservation)


def _said(answer: Answer) -> str | None:
    """The summary, if the answer is one."""
    completion = answer.completion
    if answer.error is not None or completion is None or completion.stop == "refused":
        return None
    return answer.text.strip() or None
