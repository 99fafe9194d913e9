"""What callers do with budgets. All of it is recorded before it is done, refusals included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from functions.ai.domain.audit import Action, Operations, Subject
from functions.ai.domain.budget_counters import BudgetCounters
from functions.ai.domain.budgets import Budget, Counter, Period, Scope, periods_at
from functions.ai.domain.money_errors import BudgetNotFoundError
from functions.ai.domain.money_ports import BudgetStore, UsageStore
from functions.ai.domain.pricing import to_pico, usd
from servicekit.clock import Clock


@dataclass(frozen=True, slots=True)
class BudgetView:
    """A budget and what is gone of its current periods."""

    budget: Budget
    periods: Sequence[tuple[Period, Counter]]


class BudgetService:
    """Reads, sets and removes budgets. Every call raises `AuditUnavailableError` when it cannot be
    recorded.
    """

    def __init__(
        self, store: BudgetStore, usage: UsageStore, clock: Clock, operations: Operations
    ) -> None:
        self._store = store
        self._clock = clock
        self._operations = operations
        self._counters = BudgetCounters(store, usage, clock)

    async def get(self, scope: Scope) -> BudgetView:
        """The budget of the scope. Raises `BudgetNotFoundError`."""
        budget = await self._known(Action.READ_BUDGET, scope)
        await self._operations.allow(Action.READ_BUDGET, Subject.budget(scope))
        return await self._view(budget)

    async def put(
        self, scope: Scope, daily_limit: Decimal | None, monthly_limit: Decimal | None
    ) -> BudgetView:
        """Sets the limits of the scope (US dollars); what was spent before counts."""
        limits = {"daily_limit": daily_limit, "monthly_limit": monthly_limit}
        facts = {name: usd(limit) for name, limit in limits.items() if limit is not None}
        await self._operations.allow(Action.SET_BUDGET, Subject.budget(scope), facts)
        daily, monthly = (None if x is None else to_pico(x) for x in limits.values())
        now = self._clock()
        return await self._view(await self._store.save(Budget(scope, daily, monthly, now, now)))

    async def remove(self, scope: Scope) -> None:
        """Removes the limits of the scope. Raises `BudgetNotFoundError`."""
        await self._known(Action.DELETE_BUDGET, scope)
        await self._operations.allow(Action.DELETE_BUDGET, Subject.budget(scope))
        if not await self._store.remove(scope):
            raise BudgetNotFoundError

    async def _known(self, action: Action, scope: Scope) -> Budget:
        budgets = await self._store.budgets([scope])
        if not budgets:
            raise await self._operations.deny(action, Subject.budget(scope), BudgetNotFoundError())
        return budgets[0]

    async def _view(self, budget: Budget) -> BudgetView:
        periods = periods_at(self._clock())
        counters = await self._counters.current(budget, periods)
        return BudgetView(budget, list(zip(periods, counters, strict=True)))
