"""Whether every record has come into the log: those that are an hour old and have no place in it.

The sealer goes by markers, and so does the age of the oldest one: a record that was put without a
marker, or lost it, waits for ever and nothing of that tells.

Every record is looked at once, however many there are and however many runs failed. The search goes
through the table's time in windows, oldest first, and within one as the table is read, newest
first; how far it came is stored after each page. What it finds is told before that: a run that
crashes in between has the next one tell it again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from functions.audit.domain.merkle import leaf_hash
from functions.audit.domain.models import Filter, Found, FoundPage, Position, Searched, Span
from functions.audit.domain.ports import Ledger, RecordReader, SearchState
from servicekit.clock import Clock, utc_now
from servicekit.metrics import Metrics

UNSEALED = "UnsealedRecords"
"""Metric that an alarm watches: anything above zero. Told when there are some."""

UNSEARCHED = "UnsearchedSeconds"
"""Metric that an alarm watches: the age from which on all was looked at. Told by every run."""

SETTLED = timedelta(minutes=60)
"""The age at which a record is in the log: the sealer runs every few minutes."""

WINDOW = timedelta(hours=1)
"""The longest window but for the first: within one, `UNSEARCHED` stands still."""

BUDGET = timedelta(seconds=90)
"""How long a run begins pages: its function has two minutes."""

PAGE = 200
_MAX_NAMED = 20
_logger = logging.getLogger(__name__)


class UnsealedSearch:
    """The scheduled search. Its first window is all that the table keeps, `hot_days`."""

    def __init__(
        self,
        records: RecordReader,
        ledger: Ledger,
        state: SearchState,
        metrics: Metrics,
        hot_days: int,
        clock: Clock = utc_now,
    ) -> None:
        self._records = records
        self._ledger = ledger
        self._state = state
        self._metrics = metrics
        self._hot = timedelta(days=hot_days)
        self._clock = clock

    async def run(self) -> int:
        """Goes on where the last run came to; the number of records found without a place.

        One whose marker still waits counts too: it is an hour old.
        """
        started = self._clock()
        settled = started - SETTLED
        searched = await self._state.load() or Searched(started - self._hot, settled)
        found = 0
        while self._clock() - started < BUDGET:
            searched = _opened(searched, settled)
            if searched.through >= searched.end:
                break
            span = Span(searched.through, searched.end)
            page = await self._records.find(Filter(), span, searched.before, PAGE)
            unsealed = await self._without_place(page.items)
            if unsealed:
                await self._tell(unsealed)
            found += len(unsealed)
            searched = _moved(searched, page)
            if not await self._state.save(searched):
                _logger.info("another run searches")
                return found
        age = self._clock() - searched.through
        await self._metrics.put({UNSEARCHED: age.total_seconds()})
        return found

    async def _without_place(self, items: Sequence[Found]) -> list[Position]:
        if not items:
            return []
        hashes = {item.position.event_id: leaf_hash(item.record) for item in items}
        placed = await self._ledger.leaves(hashes)
        return [item.position for item in items if item.position.event_id not in placed]

    async def _tell(self, unsealed: Sequence[Position]) -> None:
        named = unsealed[:_MAX_NAMED]
        # Which of them the sealer still knows of: the others need somebody.
        pending = [at.event_id for at in named if await self._ledger.is_pending(at)]
        _logger.error(
            "records are not in the log",
            extra={
                "records": len(unsealed),
                "event_ids": [at.event_id for at in named],
                "pending": pending,
            },
        )
        await self._metrics.put({UNSEALED: float(len(unsealed))})


def _opened(searched: Searched, settled: datetime) -> Searched:
    """With the next window, where the one before is done; it is empty when all is looked at."""
    if searched.through < searched.end:
        return searched
    return replace(searched, end=min(searched.through + WINDOW, settled))


def _moved(searched: Searched, page: FoundPage) -> Searched:
    """How far the search is with that page."""
    done = page.next_before is None
    return Searched(
        through=searched.end if done else searched.through,
        end=searched.end,
        before=page.next_before,
        version=searched.version + 1,
    )
