"""A message of a queue: its job is seen through, or the message comes again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from functions.ai.domain.channel import Channel
from functions.ai.domain.errors import (
    QueueUnavailableError,
    SessionNotFoundError,
    SessionOccupiedError,
    TurnCancelledError,
    TurnLostError,
)
from functions.ai.domain.job_ports import Deliveries, Delivery, JobMessage, JobProgress
from functions.ai.domain.job_progress import JobReporter
from functions.ai.domain.ports import TurnStore
from functions.ai.domain.runner import PASSING, TurnRunner
from functions.ai.domain.summariser import Summariser, SummaryUnfinishedError
from functions.ai.domain.turn_service import TurnService
from functions.ai.domain.turn_starter import TurnStarter
from functions.ai.domain.turns import LEASE_SECONDS, Outcome, Turn
from functions.ai.domain.work import Work
from servicekit.backoff import full_jitter
from servicekit.clock import Clock
from servicekit.errors import AppError

HIDDEN_SECONDS = 60
"""How long after a worker's last sign of life its message is given to another one: by then the
lease of its turn is over, too."""

HIDE_SECONDS = 20
"""How often a worker gives its message that time anew."""

FIRST_PAUSE_SECONDS = 10
LONGEST_PAUSE_SECONDS = 900
"""Between two attempts; each may be as much as twice as long as the one before."""

_PASSING_CODES = frozenset(kind.code for kind in PASSING)
_logger = logging.getLogger(__name__)


class JobUnfinishedError(Exception):
    """The message is to come again; or, after its last time, to lie with the dead letters."""


class JobWorker:
    """Works on messages. A job is begun by one worker at a time, however often it is delivered."""

    def __init__(
        self,
        store: TurnStore,
        starter: TurnStarter,
        turns: TurnService,
        runner: TurnRunner,
        summariser: Summariser,
        deliveries: Deliveries,
        progress: JobProgress,
        clock: Clock,
        max_receives: int,
        jitter: Callable[[int, float, float], float] = full_jitter,
    ) -> None:
        """`max_receives` is how often the queues give a message out."""
        self._store = store
        self._starter = starter
        self._turns = turns
        self._runner = runner
        self._summariser = summariser
        self._deliveries = deliveries
        self._reporter = JobReporter(progress)
        self._clock = clock
        self._max_receives = max_receives
        self._jitter = jitter

    async def work(self, message: JobMessage, delivery: Delivery) -> None:
        """Returns when nothing is left to do. Raises `JobUnfinishedError`, and an `AppError` of the
        store: then `put_back` says when the message comes again.
        """
        turn = await self._store.get(message.turn_id)
        if message.task == "summary":
            await self._summarise(turn, delivery)
            return
        if turn is None or _is_over(turn):
            _logger.info("no job to do", extra={"turn_id": message.turn_id})
            return
        if not turn.ended and not turn.idle(self._clock()):
            # Another worker has it. By when the message comes again that one is through or gone.
            raise JobUnfinishedError
        async with self._hidden(delivery):
            outcome = await self._see_through(turn, last=delivery.receives >= self._max_receives)
        if outcome is not None:
            await self._settle(delivery, outcome)

    async def put_back(self, delivery: Delivery) -> None:
        """Has a message come again that could not be worked on."""
        await self._hide(delivery, self._pause(delivery.receives, None))

    async def _summarise(self, turn: Turn | None, delivery: Delivery) -> None:
        if turn is None or turn.summary is None:
            return
        try:
            async with self._hidden(delivery):
                await self._summariser.summarise(turn, turn.summary)
        except SummaryUnfinishedError as unfinished:
            pause = self._pause(delivery.receives, None)
            if delivery.receives >= self._max_receives - 1:
                # Whoever has the session may have crashed: the last time comes after its lease.
                pause += unfinished.seconds
            await self._hide(delivery, pause)
        except PASSING as error:
            await self._hide(delivery, self._pause(delivery.receives, error))
        else:
            return
        raise JobUnfinishedError

    async def _see_through(self, turn: Turn, *, last: bool) -> Outcome | None:
        """How the attempt ended; None where there was none to make."""
        if turn.cancelling:
            await self._give_up(turn, TurnCancelledError())
            return None
        try:
            work = await self._resumed(turn)
        except SessionNotFoundError:
            return None
        except (TurnLostError, SessionOccupiedError):
            raise JobUnfinishedError from None
        except AppError as error:
            if isinstance(error, PASSING):
                raise
            await self._give_up(turn, error)
            return None
        channel = Channel(work.turn)
        async with self._reporter.following(channel):
            await self._runner.run(replace(work, returns=not last), channel)
        outcome = await channel.outcome()
        if outcome.turn.status != "running":
            await self._reporter.settled(outcome.turn)
        return outcome

    async def _resumed(self, turn: Turn) -> Work:
        events = await self._turns.said(turn) if turn.status == "running" else []
        last_event = events[-1].sequence if events else turn.first_event - 1
        bill = await self._turns.lost(turn, events) if events else None
        return await self._starter.resume(turn, turn.last_event if turn.ended else last_event, bill)

    async def _give_up(self, turn: Turn, error: AppError) -> None:
        if turn.ended:
            return
        ended = await self._turns.ended(turn, error)
        if ended is None:
            raise JobUnfinishedError
        await self._reporter.settled(ended)

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        turn, error = outcome.turn, outcome.error
        if turn.ended and (error is None or not isinstance(error, PASSING)):
            return
        if not turn.ended:
            pause = self._pause(delivery.receives, error)
            # An attempt whose end could not be stored keeps its lease for a while.
            await self._hide(delivery, pause + (LEASE_SECONDS if turn.status == "running" else 0))
        raise JobUnfinishedError

    def _pause(self, receives: int, error: AppError | None) -> int:
        """Never before the provider wants to be asked."""
        asked = int(error.headers.get("Retry-After", 0)) if error else 0
        pause = self._jitter(receives - 1, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        return min(asked, LONGEST_PAUSE_SECONDS) + max(1, round(pause))

    @asynccontextmanager
    async def _hidden(self, delivery: Delivery) -> AsyncIterator[None]:
        """Keeps the message from others as long as this process lives."""
        done = asyncio.Event()

        async def hide() -> None:
            while not done.is_set():
                await self._hide(delivery, HIDDEN_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(HIDE_SECONDS):
                        await done.wait()

        hiding = asyncio.create_task(hide())
        try:
            yield
        finally:
            done.set()
            # To its end: what comes later would take back what is said of the message next.
            await hiding

    async def _hide(self, delivery: Delivery, seconds: int) -> None:
        try:
            await self._deliveries.hide(delivery, seconds)
        except QueueUnavailableError:
            # It comes when the queue thinks fit: the turn's state tells what is to be done then.
            _logger.warning("message not hidden", extra={"queue": delivery.queue})


def _is_over(turn: Turn) -> bool:
    """Whether nobody wants anything of it. A failure that may pass has left its message with the
    dead letters: whoever sends that again wants another attempt.
    """
    if turn.job is None:
        return True
    if turn.status == "failed":
        return turn.failure is None or turn.failure.code not in _PASSING_CODES
    return turn.ended
