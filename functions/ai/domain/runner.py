"""Runs a turn: has its model asked, and ends the turn whatever happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from functions.ai.domain.asking import Answer, Asker, cancelled
from functions.ai.domain.billing import Billing
from functions.ai.domain.channel import Channel
from functions.ai.domain.errors import (
    HoldsExpiredError,
    ProviderThrottledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    TurnCancelledError,
    TurnInterruptedError,
    TurnLostError,
)
from functions.ai.domain.journal import Journal
from functions.ai.domain.models import Draft
from functions.ai.domain.ports import TurnStore
from functions.ai.domain.sessions import SessionService
from functions.ai.domain.tool_data import call_to_wire
from functions.ai.domain.turns import (
    LEASE_SECONDS,
    Bill,
    Ending,
    EndStatus,
    Failure,
    Outcome,
    SummaryDue,
    Turn,
    lease_from,
)
from functions.ai.domain.work import Work
from servicekit.clock import Clock
from servicekit.context import current_context
from servicekit.errors import AppError, InternalError, StoreUnavailableError

WATCH_SECONDS = 0.5
"""How often a running turn looks whether it is cancelled: that stops it within a second."""

RENEW_SECONDS = LEASE_SECONDS / 4

PASSING = (
    ProviderThrottledError,
    ProviderUnavailableError,
    ProviderTimeoutError,
    StoreUnavailableError,
    TurnInterruptedError,
    InternalError,
)
"""Errors after which another attempt may well succeed."""

_logger = logging.getLogger(__name__)


class TurnRunner:
    """Sees turns through, whether or not anybody listens."""

    def __init__(
        self,
        store: TurnStore,
        sessions: SessionService,
        asker: Asker,
        billing: Billing,
        clock: Clock,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._asker = asker
        self._billing = billing
        self._clock = clock

    async def run(self, work: Work, channel: Channel) -> None:
        """Never raises: whatever goes wrong ends the turn."""
        outcome = Outcome(work.turn, None, InternalError())
        try:
            outcome = await self._see_through(work, channel)
        except AppError as error:
            outcome = Outcome(work.turn, None, error)
        except Exception:
            _logger.exception("turn failed")
        finally:
            channel.end(outcome)
            channel.finish()
            _report(outcome)

    async def _see_through(self, work: Work, channel: Channel) -> Outcome:
        journal = Journal(self._store, work.turn, channel, self._clock)
        answer = Answer(work.model)
        asking = asyncio.create_task(self._asker.ask(work.question, answer, journal))
        try:
            async with self._watched(work.turn, asking, answer, journal) as given_up:
                await asyncio.wait({asking, given_up}, return_when=asyncio.FIRST_COMPLETED)
            outcome = await self._conclude(work, answer, journal, billed=asking.done())
            channel.end(outcome)
            if outcome.turn.usage is not None or asking.done():
                return outcome
            await asking
            return await self._account(outcome, answer)
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking

    @asynccontextmanager
    async def _watched(
        self, turn: Turn, asking: asyncio.Task[None], answer: Answer, journal: Journal
    ) -> AsyncIterator[asyncio.Future[None]]:
        """Renews the attempt's lease, and stops the asking when the turn is cancelled or lost.

        What is yielded is done when the answer is given up while its provider goes on billing it.
        """
        given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watch = asyncio.create_task(self._watch(turn, asking, answer, journal, given_up))
        try:
            yield given_up
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    async def _watch(
        self,
        turn: Turn,
        asking: asyncio.Task[None],
        answer: Answer,
        journal: Journal,
        given_up: asyncio.Future[None],
    ) -> None:
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            lease = None
            if loop.time() - renewed >= RENEW_SECONDS:
                lease = lease_from(self._clock())
            try:
                signal = await self._store.watch(turn, lease)
            except AppError:
                # Of the store: no reason to end the work.
                _logger.warning("turn not watched", exc_info=True)
                continue
            if lease is not None and signal == "go":
                renewed = loop.time()
                journal.renewed(lease)
            if signal == "go":
                continue
            answer.cut(TurnCancelledError() if signal == "cancel" else TurnLostError())
            if signal == "cancel" and answer.begun and self._asker.drains(answer):
                given_up.set_result(None)
            else:
                asking.cancel()
            return

    async def _conclude(
        self, work: Work, answer: Answer, journal: Journal, *, billed: bool
    ) -> Outcome:
        events = await journal.close()
        if isinstance(answer.error, TurnLostError):
            raise answer.error
        bill = await self._bill(work.turn, answer) if billed else None
        try:
            if work.returns and bill and isinstance(answer.error, PASSING):
                ended = replace(work.turn, last_event=journal.last_event)
                later = ended.again(self._clock(), status="queued")
                if await self._store.postpone(work.turn, later, events, bill):
                    return Outcome(later, None, answer.error)
                answer.error = TurnCancelledError()
            ending = Ending(
                status=_status(answer),
                at=self._clock(),
                last_event=journal.last_event,
                first_event=journal.first_event,
                model=(answer.model.provider.name, answer.model.name),
                draft=await self._draft(work, answer, bill),
                failure=Failure.of(answer.error) if answer.error else None,
                stop=answer.completion.stop if answer.completion else None,
                events=events,
                bill=bill,
                summary=_summary_due(answer),
            )
            turn, message = await self._store.conclude(work.turn, ending)
        except HoldsExpiredError:
            # The settlement is worked out anew without them.
            answer.reservation = await self._billing.refreshed(answer.reservation)
            return await self._conclude(work, answer, journal, billed=billed)
        return Outcome(turn, message, answer.error)

    async def _draft(self, work: Work, answer: Answer, bill: Bill | None) -> Draft | None:
        text = answer.text
        if answer.error is not None and not text:
            return None
        # A message does not say that its figures are estimated: it has none then.
        told = bill if bill and not bill.estimated else Bill()
        return await self._sessions.draft(
            "assistant",
            text,
            tokens_used=told.usage.total if told.usage else None,
            cost=told.cost,
            reply_to=work.turn.question,
            incomplete=answer.error is not None,
            **_extras(answer),
        )

    async def _account(self, outcome: Outcome, answer: Answer) -> Outcome:
        """Adds what the answer cost that was read on after it had been cancelled."""
        try:
            turn = await self._store.account(outcome.turn, await self._bill(outcome.turn, answer))
        except HoldsExpiredError:
            answer.reservation = await self._billing.refreshed(answer.reservation)
            return await self._account(outcome, answer)
        except AppError:
            _logger.exception("turn not accounted")
            return outcome
        return Outcome(turn, outcome.message, outcome.error)

    async def _bill(self, turn: Turn, answer: Answer) -> Bill:
        return await self._billing.bill(turn, answer.reservation, answer.calls, answer.delivered())


def _extras(answer: Answer) -> dict[str, Any]:
    """What a whole answer has beside its text: half of it could not be sent to a model again."""
    completion = answer.completion
    if completion is None or answer.error is not None:
        return {}
    calls = [call_to_wire(call) for call in completion.tool_calls]
    return {
        "tool_calls": calls or None,
        "opaque": completion.opaque,
        "stop": completion.stop,
    }


def _summary_due(answer: Answer) -> SummaryDue | None:
    """Only behind a whole answer: another attempt's prompt will leave out as much."""
    if answer.error is not None or answer.untold is None:
        return None
    context = current_context()
    if context is None:
        return SummaryDue(answer.untold)
    return SummaryDue(answer.untold, context.request_id, context.trace.traceparent)


def _status(answer: Answer) -> EndStatus:
    if answer.error is None:
        return "completed"
    return "cancelled" if cancelled(answer) else "failed"


def _report(outcome: Outcome) -> None:
    turn = outcome.turn
    _logger.info(
        "turn ended" if turn.ended else "turn not ended",
        extra={
            "turn_id": turn.turn_id,
            "session_id": turn.session_id,
            "attempt": turn.attempt,
            "project_id": turn.project_id,
            "user_id": turn.user_id,
            "provider": turn.provider,
            "model": turn.model,
            "tokens_used": turn.usage.total if turn.usage else None,
            "cost": turn.cost,
            "error_code": outcome.error.code if outcome.error else None,
        },
    )
