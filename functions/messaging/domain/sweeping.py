"""Finds what was accepted and did not get onto the bus, and puts it there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions.messaging.domain.events import Event
from functions.messaging.domain.ports import Bus, EventStore, Schemas
from functions.messaging.domain.publishing import put_on_bus
from servicekit.clock import Clock
from servicekit.metrics import Metrics

OLDEST = "EventsUnpublishedOldestSeconds"
"""Figure: the age of the oldest event that the bus does not have after a sweep."""

_PAGE = 50
# More, and the bus refuses whatever comes: the next sweep tries again.
_MOST_REFUSED = 200
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """`after`: younger events are still in the hands of whoever accepted them."""

    after: timedelta
    events_per_second: float


class Sweeper:
    """May run any number of times, and several at once: an event is sent twice under one id then.

    Writes of others lie between: what a reader of the index misses, the next sweep finds.
    """

    def __init__(
        self,
        store: EventStore,
        bus: Bus,
        schemas: Schemas,
        metrics: Metrics,
        pace: Pace,
        clock: Clock,
        *,
        timer: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._bus = bus
        self._schemas = schemas
        self._metrics = metrics
        self._pace = pace
        self._clock = clock
        self._timer = timer
        self._sleep = sleep

    async def sweep(self, seconds: float) -> int:
        """Sends what was left behind, oldest first, for about `seconds`; returns how many it sent.

        Records `OLDEST`. Raises `StoreUnavailableError`.
        """
        ends = self._timer() + seconds
        before = self._clock() - self._pace.after
        seen: set[str] = set()
        refused: list[Event] = []
        limit = _PAGE
        while True:
            found = await self._store.unpublished(before, limit)
            # What was marked a moment ago may still be in the index, what was refused is.
            waiting = [event for event in found if event.event_id not in seen][:_PAGE]
            if len(refused) > _MOST_REFUSED or self._timer() >= ends:
                break
            if not waiting and len(found) < limit:
                break
            limit = _PAGE + len(found) - len(waiting)
            if not waiting:
                continue
            began = self._timer()
            seen.update(event.event_id for event in waiting)
            refused += await put_on_bus(waiting, self._store, self._bus, self._schemas, self._clock)
            rest = len(waiting) / self._pace.events_per_second - (self._timer() - began)
            if rest > 0:
                await self._sleep(rest)
        await self._report([*refused, *waiting])
        sent = len(seen) - len(refused)
        if seen:
            _logger.info("swept", extra={"sent": sent, "refused": len(refused)})
        return sent

    async def _report(self, left: list[Event]) -> None:
        oldest = min((event.accepted_at for event in left), default=None)
        await self._metrics.put({OLDEST: _age(oldest, self._clock())})


def _age(moment: datetime | None, now: datetime) -> float:
    return 0.0 if moment is None else max(0.0, (now - moment).total_seconds())
