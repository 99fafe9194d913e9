"""How the service stands, in figures that are read when they are asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions.audit.domain.ports import Ledger
from servicekit.clock import Clock

_MISSED_RUNS = 3
"""A record that waits for so many runs of the sealer tells that it does not run."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Records by state; `sealing` tells whether none waits for longer than it should."""

    pending: int
    oldest_pending_at: datetime | None
    sealed: int
    sealed_at: datetime | None
    sealing: bool


class StatsService:
    """Reads the ledger."""

    def __init__(self, ledger: Ledger, clock: Clock, seal_interval_seconds: int) -> None:
        self._ledger = ledger
        self._clock = clock
        self._patience = timedelta(seconds=_MISSED_RUNS * seal_interval_seconds)

    async def current(self) -> Stats:
        """The figures of now."""
        head, pending, oldest = await asyncio.gather(
            self._ledger.head(), self._ledger.count_pending(), self._ledger.oldest_pending()
        )
        sealing = oldest is None or self._clock() - oldest <= self._patience
        return Stats(pending, oldest, head.size, head.sealed_at, sealing)
