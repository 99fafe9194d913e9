"""Brings a budget's counters in line with the usage that was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeGuard

from functions.ai.domain.budgets import Budget, Counter, Period
from functions.ai.domain.money_ports import BudgetStore, UsageStore
from functions.ai.domain.usage import UsageFilter
from servicekit.clock import Clock
from servicekit.errors import StoreUnavailableError

SETTLING_SECONDS = 60
"""After a budget is made, other processes do not know of it at once: what their turns cost
meanwhile is found by a second look when this time has passed."""

_ATTEMPTS = 10


class BudgetCounters:
    """Counters begin with what was spent before there was a budget."""

    def __init__(self, store: BudgetStore, usage: UsageStore, clock: Clock) -> None:
        self._store = store
        self._usage = usage
        self._clock = clock

    def fresh(self, budget: Budget) -> datetime:
        """When its counters must have been seeded, at least."""
        settled = budget.created_at + timedelta(seconds=SETTLING_SECONDS)
        return settled if self._clock() >= settled else budget.created_at

    async def current(self, budget: Budget, periods: Sequence[Period]) -> list[Counter]:
        """The counters, seeded where they are not."""
        found = await self._store.counters(budget.scope, periods)
        return [
            await self.seed(budget, period, counter)
            for period, counter in zip(periods, found, strict=True)
        ]

    async def seed(self, budget: Budget, period: Period, found: Counter | None) -> Counter:
        """The counter as it is afterwards; one that was seeded is left alone."""
        for _ in range(_ATTEMPTS):
            if is_fresh(found, self.fresh(budget)):
                return found
            now = self._clock()
            # Usage is read after the counter, and the counter moved only if no settlement came
            # between: whatever the counter had seen by then is in this sum.
            spent = await self._spent(budget, period)
            if await self._store.seed(budget.scope, period, found, spent, now):
                before = found or Counter(0, 0, None)
                return Counter(before.committed + spent - before.spent, spent, now)
            (found,) = await self._store.counters(budget.scope, [period])
        raise StoreUnavailableError(retry_after=1)

    async def _spent(self, budget: Budget, period: Period) -> int:
        scope = budget.scope
        wanted = UsageFilter(scope.project_id, scope.user_id, period.first, period.last)
        return sum([a.tally.cost async for a in self._usage.aggregates(wanted)])


def is_fresh(counter: Counter | None, since: datetime) -> TypeGuard[Counter]:
    """Whether the counter was seeded at that time or later."""
    return counter is not None and counter.seeded_at is not None and counter.seeded_at >= since
