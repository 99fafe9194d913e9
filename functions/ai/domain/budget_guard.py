"""Reserves what a call may cost before it is made; what it did cost takes the place afterwards."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from functions.ai.domain.budget_counters import BudgetCounters, is_fresh
from functions.ai.domain.budgets import (
    Budget,
    BudgetSettlement,
    Hold,
    Move,
    Reservation,
    Scope,
    Spender,
    periods_at,
    released,
    scopes_of,
    settled,
)
from functions.ai.domain.money_errors import BudgetExhaustedError, PriceUnknownError
from functions.ai.domain.money_ports import BudgetStore, Claim, Obstacle, UsageStore
from functions.ai.domain.pricing import to_pico
from servicekit.backoff import full_jitter
from servicekit.clock import Clock
from servicekit.errors import StoreUnavailableError

HOLD_SECONDS = 1_200
"""How long a reservation lasts: a function ends after 15 minutes, and with it whoever made it."""

CACHE_SECONDS = 5.0
"""How long a process believes what it read of budgets, those that do not exist included: a new or
changed limit binds everywhere after that time."""

_CACHED = 10_000
_PATIENCE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5


class BudgetGuard:
    """Lets a call through if the budgets of its project, its user and of both have room for it."""

    def __init__(self, store: BudgetStore, usage: UsageStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._counters = BudgetCounters(store, usage, clock)
        self._cache: OrderedDict[Scope, tuple[float, Budget | None]] = OrderedDict()

    async def reserve(self, spender: Spender, estimate: Decimal | None) -> Reservation:
        """Holds the most that the call may cost (US dollars), of every budget at once.

        Where no budget applies nothing is written. Raises `BudgetExhaustedError`,
        `PriceUnknownError` where a budget applies and `estimate` is None, and
        `StoreUnavailableError` when too many want the same budget.
        """
        now = self._clock()
        budgets = await self._budgets(scopes_of(spender.project_id, spender.user_id))
        if not budgets:
            return Reservation(spender, now)
        if estimate is None:
            scopes = ", ".join(budget.scope.name for budget in budgets)
            raise PriceUnknownError(f"There are budgets of: {scopes}.")
        expires_at = int((now + timedelta(seconds=HOLD_SECONDS)).timestamp())
        claims = [
            Claim(
                Hold(
                    scope=budget.scope,
                    turn_id=spender.turn_id,
                    attempt=spender.attempt,
                    amount=to_pico(estimate),
                    at=now,
                    expires_at=expires_at,
                ),
                budget,
                self._counters.fresh(budget),
            )
            for budget in budgets
        ]
        await self._hold(claims)
        return Reservation(spender, now, tuple(claim.hold for claim in claims))

    async def settlement(self, reservation: Reservation, cost: int | None) -> BudgetSettlement:
        """What the transaction that ends the attempt changes, with its cost in pico-dollars.

        Budgets that were made since the reservation count it too.
        """
        spent = cost or 0
        spender = reservation.spender
        budgets = await self._budgets(scopes_of(spender.project_id, spender.user_id))
        moves = [move for hold in reservation.holds for move in settled(hold, spent)]
        held = {hold.scope for hold in reservation.holds}
        moves += [
            Move(budget.scope, period, spent, spent)
            for budget in budgets
            if budget.scope not in held
            for period in periods_at(reservation.at)
        ]
        return BudgetSettlement(reservation.holds, tuple(moves))

    async def refreshed(self, reservation: Reservation) -> Reservation:
        """The reservation without holds that expired and were freed: their settlement is refused,
        and what it was to move must be worked out anew.
        """
        kept = await self._store.held(reservation.holds)
        return Reservation(reservation.spender, reservation.at, tuple(kept))

    async def release(self, reservation: Reservation) -> None:
        """Gives back what was held: the call was not made, or not billed. May be repeated."""
        for hold in reservation.holds:
            await self._store.settle(released([hold]))

    async def _hold(self, claims: Sequence[Claim]) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + _PATIENCE_SECONDS
        for attempt in itertools.count():
            try:
                obstacles = await self._store.hold(claims)
                if not obstacles:
                    return
                for obstacle in obstacles:
                    await self._clear(obstacle)
                pause = 0.0
            except StoreUnavailableError:
                # Most often others were writing to the same budget.
                pause = full_jitter(attempt, _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
            if clock() + pause > deadline:
                break
            await asyncio.sleep(pause)
        raise StoreUnavailableError("The budgets could not be reserved in time.", retry_after=1)

    async def _clear(self, obstacle: Obstacle) -> None:
        """Makes way, or raises `BudgetExhaustedError`."""
        claim, period, counter = obstacle.claim, obstacle.period, obstacle.counter
        if not is_fresh(counter, claim.fresh):
            await self._counters.seed(claim.budget, period, counter)
            return
        limit = claim.budget.limit(period)
        if limit is None or counter.committed + claim.hold.amount <= limit:
            return
        if not await self._free(claim.budget.scope, self._clock()):
            raise BudgetExhaustedError.of(claim.budget, period, counter, claim.hold.amount)

    async def _free(self, scope: Scope, now: datetime) -> bool:
        """Whether anything was held by somebody who is gone."""
        expired = await self._store.expired(scope, now)
        for hold in expired:
            # Another may have freed it meanwhile: then there is as much room.
            await self._store.settle(released([hold]))
        return bool(expired)

    async def _budgets(self, scopes: Sequence[Scope]) -> list[Budget]:
        """The budgets of the scopes, from the store where what is known is too old."""
        now = asyncio.get_running_loop().time()
        known = {scope: self._cache.get(scope, (0.0, None)) for scope in scopes}
        if not all(scope in self._cache and now < known[scope][0] for scope in scopes):
            found = {budget.scope: budget for budget in await self._store.budgets(scopes)}
            for scope in scopes:
                known[scope] = self._cache[scope] = (now + CACHE_SECONDS, found.get(scope))
                self._cache.move_to_end(scope)
            while len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return [budget for _, budget in known.values() if budget is not None]
