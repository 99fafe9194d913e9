"""What usage and budgets need from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from functions.ai.domain.budgets import (
    Budget,
    BudgetSettlement,
    Counter,
    Hold,
    Period,
    Scope,
)
from functions.ai.domain.usage import Aggregate, UsageFilter


class UsageStore(Protocol):
    """What was charged. It is written by the transaction that ends a turn."""

    def aggregates(self, wanted: UsageFilter) -> AsyncIterator[Aggregate]:
        """The sums of a project, a user, or both, consistent, by day."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A hold to make of a budget; its counters must have been seeded at `fresh` or later."""

    hold: Hold
    budget: Budget
    fresh: datetime


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A counter that a claim does not fit into, as it is; None if there is none."""

    claim: Claim
    period: Period
    counter: Counter | None


class BudgetStore(Protocol):
    """Budgets, the counters of their periods, and what is held of them."""

    async def budgets(self, scopes: Sequence[Scope]) -> list[Budget]:
        """Those of the scopes that have one, consistent."""

    async def save(self, budget: Budget) -> Budget:
        """Sets the limits; the `created_at` of a budget that is there stays. Returns it whole."""

    async def remove(self, scope: Scope) -> bool:
        """Whether there was a budget; what is held of it stays until it is settled."""

    async def counters(self, scope: Scope, periods: Sequence[Period]) -> list[Counter | None]:
        """The counters, in the order of the periods, consistent."""

    async def seed(
        self, scope: Scope, period: Period, found: Counter | None, spent: int, at: datetime
    ) -> bool:
        """Moves a counter to what was `spent`; False if it is not as it was `found` any more."""

    async def hold(self, claims: Sequence[Claim]) -> list[Obstacle]:
        """Holds all at once, or nothing and returns what is in the way.

        Raises `WriteConflictError` when others were writing at the same time.
        """

    async def expired(self, scope: Scope, now: datetime) -> list[Hold]:
        """Holds whose holder can no longer be at work."""

    async def settle(self, settlement: BudgetSettlement) -> bool:
        """Moves the counters; False, and nothing moved, if one of the holds is gone."""

    async def held(self, holds: Sequence[Hold]) -> list[Hold]:
        """Those that are still there, consistent."""
