"""Whether every record has come into the log: those that are an hour old and have no place in it.

The sealer goes by markers, and so does the age of the oldest one: a record that was put without a
marker, or lost it, waits for ever and nothing of that tells.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from functions.audit.domain.merkle import leaf_hash
from functions.audit.domain.models import Filter, Found, Position, Span
from functions.audit.domain.ports import Ledger, RecordReader
from servicekit.clock import Clock, utc_now
from servicekit.metrics import Metrics

UNSEALED = "UnsealedRecords"
"""Metric that an alarm watches: anything above zero."""

SETTLED = timedelta(minutes=60)
"""The age at which a record is in the log: the sealer runs every few minutes."""

WINDOW = timedelta(minutes=10)
"""How much of the past one run looks at: two schedules, so that one run may fail."""

MAX_PAGES = 200
PAGE = 100
_MAX_NAMED = 20
_logger = logging.getLogger(__name__)


class UnsealedSearch:
    """The scheduled search."""

    def __init__(
        self, records: RecordReader, ledger: Ledger, metrics: Metrics, clock: Clock = utc_now
    ) -> None:
        self._records = records
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> int:
        """Records the metric `UnsealedRecords`, of those of the window, and returns it.

        One whose marker still waits counts too: it is an hour old. A window of more than
        `MAX_PAGES` pages is looked at from its newest record on as far as they go.
        """
        end = self._clock() - SETTLED
        span = Span(end - WINDOW, end)
        unsealed: list[Position] = []
        before: Position | None = None
        for _ in range(MAX_PAGES):
            page = await self._records.find(Filter(), span, before, PAGE)
            unsealed += await self._without_place(page.items)
            before = page.next_before
            if before is None:
                break
        if before is not None:
            _logger.error(
                "more records than a search looks at",
                extra={"from": before.accepted_at.isoformat()},
            )
        if unsealed:
            await self._tell(unsealed)
        await self._metrics.put({UNSEALED: float(len(unsealed))})
        return len(unsealed)

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
