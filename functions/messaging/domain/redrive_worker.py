"""Sends the letters of a redrive: a few at a time, each of them once it is marked as taken.

A kill between the mark and what follows leaves letters that are taken and may have been sent. They
are sent when the redrive goes on: a consumer's claim makes one effect of two messages. Without a
kill nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from functions.messaging.domain.dead_letters import (
    SUBSCRIPTION_PREFIX,
    Redeliveries,
)
from functions.messaging.domain.letters import LetterShelf, ShelvedLetter
from functions.messaging.domain.life import LifeStore, Moment
from functions.messaging.domain.ports import Bus, Envelopes
from functions.messaging.domain.redrives import Redrive, RedriveStore, Tasks, advanced
from servicekit.clock import Clock
from servicekit.errors import AppError, StoreUnavailableError

BATCH = 100
"""Letters that are taken at once, or fewer at a low rate: what a kill may have sent again."""

RESERVE_SECONDS = 30.0
"""What must be left of the function's time to begin with more letters."""

_PAGE = 200
_logger = logging.getLogger(__name__)


class RedriveWorker:
    """Works on a redrive, in one call of the function or in many."""

    def __init__(
        self,
        redrives: RedriveStore,
        shelf: LetterShelf,
        events: Envelopes,
        bus: Bus,
        redeliveries: Redeliveries,
        life: LifeStore,
        tasks: Tasks,
        clock: Clock,
        timer: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._redrives = redrives
        self._shelf = shelf
        self._events = events
        self._bus = bus
        self._redeliveries = redeliveries
        self._life = life
        self._tasks = tasks
        self._clock = clock
        self._timer = timer
        self._sleep = sleep

    async def work(self, redrive_id: str, remaining: Callable[[], float]) -> None:
        """Goes on until it is done, or `remaining` seconds are few: then it is queued again.

        Raises `RedriveHeldError`, `StoreUnavailableError` and `QueueUnavailableError`, upon which
        the queue brings it again.
        """
        leased = await self._redrives.lease(redrive_id)
        if leased is None:
            return
        redrive = leased.redrive
        began, sent = self._timer(), 0
        while True:
            if remaining() < RESERVE_SECONDS:
                # Whoever gets the message may begin at once. Killed between the two, this call's
                # own message comes again.
                await self._redrives.release(leased)
                await self._tasks.redrive(redrive_id)
                return
            letters = await self._shelf.walk(redrive.stream, redrive.cursor, _PAGE)
            if not letters:
                await self._redrives.advance(leased, redrive, done=True)
                return
            redrive, handled = await self._some(redrive, letters)
            if not await self._redrives.advance(leased, redrive, done=False):
                return
            sent += handled
            ahead = sent / redrive.rate - (self._timer() - began)
            if ahead > 0:
                await self._sleep(ahead)

    async def _some(
        self, redrive: Redrive, letters: Sequence[ShelvedLetter]
    ) -> tuple[Redrive, int]:
        """Sends the first of those letters; how far the redrive is then, and how many it tried."""
        most = min(BATCH, redrive.rate)
        again: list[ShelvedLetter] = []
        fresh: list[ShelvedLetter] = []
        before: list[ShelvedLetter] = []
        cursor = redrive.cursor
        for shelved in letters:
            if len(again) + len(fresh) == most:
                break
            cursor = shelved.key
            if redrive.began(shelved):
                again.append(shelved)
            elif redrive.sent_before(shelved):
                before.append(shelved)
            elif redrive.takes(shelved):
                fresh.append(shelved)
        began = self._clock()
        taken = await asyncio.gather(
            *(self._shelf.take(shelved, redrive.redrive_id) for shelved in fresh)
        )
        mine = [*again, *(one for one, got in zip(fresh, taken, strict=True) if got)]
        failed = await self._send(redrive, mine)
        gone = [one for one in mine if one.key not in failed]
        await self._shelf.put_back([one for one in mine if one.key in failed], redrive.redrive_id)
        await self._shelf.mark_redriven(gone, redrive.redrive_id)
        # Their consumers may have attempted them by now: what is told lies before that. A process
        # that died began with its letters after it had stored how far it came.
        fresh_keys = {one.key for one in fresh}
        times = {
            one.key: began if one.key in fresh_keys else redrive.updated_at
            for one in (*before, *gone)
        }
        await self._tell(redrive, [*before, *gone], times)
        moved = advanced(
            redrive,
            cursor=cursor,
            sent=len(before) + len(gone),
            failed=len(failed),
            at=self._clock(),
        )
        return moved, len(mine)

    async def _send(self, redrive: Redrive, letters: Sequence[ShelvedLetter]) -> set[str]:
        """Sends them; returns the keys of those that could not be sent."""
        webhooks = [one for one in letters if _is_webhook(one)]
        others = [one for one in letters if not _is_webhook(one)]
        found = await asyncio.gather(
            *(self._events.envelope(one.letter.event_id) for one in others)
        )
        known = [(one, event) for one, event in zip(others, found, strict=True) if event]
        failed = {one.key for one, event in zip(others, found, strict=True) if event is None}
        if known:
            refused = await self._bus.put(
                [event.model_copy(update={"target": one.letter.consumer}) for one, event in known]
            )
            failed |= {known[position][0].key for position in refused}
        delivered = await asyncio.gather(*(self._redeliver(redrive, one) for one in webhooks))
        failed |= {one.key for one, ok in zip(webhooks, delivered, strict=True) if not ok}
        if failed:
            _logger.warning(
                "letters could not be sent",
                extra={"redrive_id": redrive.redrive_id, "letters": len(failed)},
            )
        return failed

    async def _redeliver(self, redrive: Redrive, shelved: ShelvedLetter) -> bool:
        try:
            await self._redeliveries.redeliver(shelved.letter, redrive.redrive_id)
        except StoreUnavailableError:
            raise
        except AppError as error:
            _logger.warning(
                "a delivery could not be made again",
                extra={"redrive_id": redrive.redrive_id, "error": error.code},
            )
            return False
        return True

    async def _tell(
        self, redrive: Redrive, letters: Sequence[ShelvedLetter], times: Mapping[str, datetime]
    ) -> None:
        moments: dict[str, list[Moment]] = {}
        for shelved in letters:
            letter = shelved.letter
            moments.setdefault(letter.event_id, []).append(
                Moment(
                    key=f"REDRIVEN#{letter.consumer}#{redrive.redrive_id}",
                    kind="redriven",
                    at=times[shelved.key],
                    consumer=letter.consumer,
                    details={
                        "redrive_id": redrive.redrive_id,
                        "requested_by": redrive.requested_by.rpartition("/")[2],
                    },
                )
            )
        if moments:
            await self._life.append(moments)


def _is_webhook(shelved: ShelvedLetter) -> bool:
    return shelved.letter.consumer.startswith(SUBSCRIPTION_PREFIX)
