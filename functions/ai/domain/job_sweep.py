"""Sees to jobs that wait too long: their message may be gone, and nobody else would ever know.

SQS drops a message after four days, and a change that the dispatcher could not bring to its queue
within six hours is given up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import cast

from functions.ai.domain.errors import JobExpiredError, SessionNotFoundError, TurnLostError
from functions.ai.domain.job_ports import JobMessage, JobQueues
from functions.ai.domain.ports import TurnStore
from functions.ai.domain.turns import Ending, Failure, Priority, Turn
from functions.ai.domain.upkeep_ports import WaitingJobs
from servicekit.clock import Clock
from servicekit.errors import AppError

LATE_AFTER = timedelta(hours=8)
"""A job waits so long before its message is sent once more, and again as long before the next one.
By then the dispatcher has sent it or given it up."""

GIVEN_UP_AFTER = timedelta(days=3)
"""From its creation on a job is sent again for so long; a late one fails afterwards."""

_logger = logging.getLogger(__name__)


class JobSweep:
    """Sends late jobs to their queues again, and ends those that nobody wants any more.

    A second message of a job does no harm. Whatever a run does not come to, the next one finds.
    """

    def __init__(
        self, waiting: WaitingJobs, turns: TurnStore, queues: JobQueues, clock: Clock
    ) -> None:
        self._waiting = waiting
        self._turns = turns
        self._queues = queues
        self._clock = clock

    async def sweep(self, deadline: float) -> int:
        """Begins no page after that time of the event loop. Returns how many jobs failed to be
        seen to.
        """
        clock = asyncio.get_running_loop().time
        failed = 0
        found = cast(
            "AsyncGenerator[Sequence[str]]", self._waiting.queued_before(self._clock() - LATE_AFTER)
        )
        async with aclosing(found) as pages:
            async for page in pages:
                failed += await self._see_to(page)
                if clock() > deadline:
                    break
        return failed

    async def _see_to(self, turn_ids: Sequence[str]) -> int:
        turns = await asyncio.gather(*map(self._turns.get, turn_ids))
        late = [turn for turn in turns if turn and turn.job and turn.status == "queued"]
        now = self._clock()
        old = [turn for turn in late if now - turn.created_at > GIVEN_UP_AFTER]
        again: dict[Priority, list[Turn]] = defaultdict(list)
        for turn in late:
            if turn.job and turn not in old:
                again[turn.job.priority].append(turn)
        failed = [await self._end(turn, now) for turn in old]
        failed += [await self._send(priority, turns, now) for priority, turns in again.items()]
        return sum(failed)

    async def _end(self, turn: Turn, now: datetime) -> int:
        ending = Ending(
            status="failed",
            at=now,
            # Of the attempt that did not begin.
            last_event=turn.first_event - 1,
            failure=Failure.of(JobExpiredError()),
        )
        try:
            try:
                await self._turns.conclude(turn, ending)
            except (TurnLostError, SessionNotFoundError):
                # Somebody is at work on it after all, or it goes with its session: out of the way.
                await self._waiting.put_off(turn, now)
                return 0
        except AppError:
            _logger.exception("late job not ended", extra={"turn_id": turn.turn_id})
            return 1
        _logger.warning("late job ended", extra={"turn_id": turn.turn_id})
        return 0

    async def _send(self, priority: Priority, turns: Sequence[Turn], now: datetime) -> int:
        try:
            await self._queues.send(priority, [JobMessage.of(turn) for turn in turns])
            # Only then: after a crash in between they are sent twice, and not eight hours later.
            for turn in turns:
                await self._waiting.put_off(turn, now)
        except AppError:
            _logger.exception("late jobs not sent", extra={"jobs": len(turns)})
            return len(turns)
        for turn in turns:
            _logger.warning("late job sent again", extra={"turn_id": turn.turn_id})
        return 0
