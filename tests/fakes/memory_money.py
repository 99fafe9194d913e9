"""Usage and budgets in memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime

from functions.ai.domain.budgets import (
    Budget,
    BudgetSettlement,
    Counter,
    Hold,
    Period,
    Scope,
)
from functions.ai.domain.money_ports import Claim, Obstacle
from functions.ai.domain.turns import Bill
from functions.ai.domain.usage import Aggregate, Charge, UsageFilter


class MemoryMoney:
    """`money_ports.UsageStore` and `money_ports.BudgetStore`: each call happens at once, and
    others may come before it.
    """

    def __init__(self) -> None:
        self.charges: dict[tuple[str, int, int], Charge] = {}
        self.kept: dict[Scope, Budget] = {}
        self.counted: dict[tuple[Scope, Period], Counter] = {}
        self.holds: list[Hold] = []
        self.reads = 0

    def finish(self, charge: Charge | None, settlement: BudgetSettlement | None) -> bool:
        """The part of the end of a turn that is about money; all of it or, if False, nothing."""
        if charge is not None and (charge.turn_id, charge.attempt, charge.call) in self.charges:
            return False
        if settlement is not None:
            if not all(hold in self.holds for hold in settlement.holds):
                return False
            for hold in settlement.holds:
                self.holds.remove(hold)
            for move in settlement.moves:
                old = self.counted.get((move.scope, move.period), Counter(0, 0, None))
                self.counted[move.scope, move.period] = Counter(
                    old.committed + move.committed, old.spent + move.spent, old.seeded_at
                )
        if charge is not None:
            self.charges[charge.turn_id, charge.attempt, charge.call] = charge
        return True

    def pay(self, bill: Bill) -> bool:
        """All of the bill or, if False, nothing."""
        if not self.finish(None, bill.settlement):
            return False
        for charge in bill.charges:
            assert self.finish(charge, None)
        return True

    async def aggregates(self, wanted: UsageFilter) -> AsyncIterator[Aggregate]:
        await asyncio.sleep(0)
        sums: dict[tuple[object, ...], Aggregate] = {}
        for charge in self.charges.values():
            key = (charge.day, charge.project_id, charge.user_id, charge.provider, charge.model)
            found = sums.get(key)
            one = Aggregate(*key, charge.tally)  # type: ignore[arg-type]
            sums[key] = replace(one, tally=found.tally + one.tally) if found else one
        for aggregate in sums.values():
            if (
                wanted.project_id in {None, aggregate.project_id}
                and wanted.user_id in {None, aggregate.user_id}
                and wanted.first <= aggregate.day <= wanted.last
            ):
                yield aggregate

    async def budgets(self, scopes: Sequence[Scope]) -> list[Budget]:
        await asyncio.sleep(0)
        self.reads += 1
        return [self.kept[scope] for scope in scopes if scope in self.kept]

    async def save(self, budget: Budget) -> Budget:
        await asyncio.sleep(0)
        old = self.kept.get(budget.scope)
        created_at = old.created_at if old else budget.created_at
        self.kept[budget.scope] = replace(budget, created_at=created_at)
        return self.kept[budget.scope]

    async def remove(self, scope: Scope) -> bool:
        await asyncio.sleep(0)
        return self.kept.pop(scope, None) is not None

    async def counters(self, scope: Scope, periods: Sequence[Period]) -> list[Counter | None]:
        await asyncio.sleep(0)
        return [self.counted.get((scope, period)) for period in periods]

    async def seed(
        self, scope: Scope, period: Period, found: Counter | None, spent: int, at: datetime
    ) -> bool:
        await asyncio.sleep(0)
        current = self.counted.get((scope, period))
        if (current and current.spent) != (found and found.spent):
            return False
        before = current or Counter(0, 0, None)
        self.counted[scope, period] = Counter(before.committed + spent - before.spent, spent, at)
        return True

    async def hold(self, claims: Sequence[Claim]) -> list[Obstacle]:
        await asyncio.sleep(0)
        obstacles = []
        for claim in claims:
            for period in claim.hold.periods:
                counter = self.counted.get((claim.budget.scope, period))
                limit = claim.budget.limit(period)
                if counter is None or counter.seeded_at is None:
                    fits = False
                else:
                    fits = counter.seeded_at >= claim.fresh and (
                        limit is None or counter.committed + claim.hold.amount <= limit
                    )
                if not fits:
                    obstacles.append(Obstacle(claim, period, counter))
        if obstacles:
            return obstacles
        for claim in claims:
            self.holds.append(claim.hold)
            for period in claim.hold.periods:
                key = (claim.budget.scope, period)
                old = self.counted[key]
                self.counted[key] = replace(old, committed=old.committed + claim.hold.amount)
        return []

    async def expired(self, scope: Scope, now: datetime) -> list[Hold]:
        await asyncio.sleep(0)
        return [h for h in self.holds if h.scope == scope and h.expires_at < now.timestamp()]

    async def settle(self, settlement: BudgetSettlement) -> bool:
        await asyncio.sleep(0)
        return self.finish(None, settlement)

    async def held(self, holds: Sequence[Hold]) -> list[Hold]:
        await asyncio.sleep(0)
        return [hold for hold in holds if hold in self.holds]
