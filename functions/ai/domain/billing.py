"""What an errand may cost before its model is called, and what it did cost afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from functions.ai.domain.budget_guard import BudgetGuard
from functions.ai.domain.budgets import Reservation, Spender
from functions.ai.domain.catalogue import Catalogue, Model
from functions.ai.domain.estimate import estimate, estimated_usage, output_limit
from functions.ai.domain.inference import Prompt, Usage
from functions.ai.domain.pricing import from_pico, usd
from functions.ai.domain.turns import Bill
from functions.ai.domain.usage import Charge, charge

MAX_CALLS = 100
"""Of an attempt: each has a reservation of its own, and the next attempt's begin behind them."""


class Errand(Protocol):
    """What models are called for: a turn's attempt, say. Calls are charged to its project and its
    user, under `turn_id` and `attempt`, which no other errand has both of.
    """

    @property
    def turn_id(self) -> str:
        """The turn's; of another errand an id of its own."""

    @property
    def attempt(self) -> int:
        """Counts from 1."""

    @property
    def session_id(self) -> str:
        """Whose conversation it is about."""

    @property
    def project_id(self) -> int:
        """Who pays."""

    @property
    def user_id(self) -> int:
        """Who pays, too."""

    @property
    def updated_at(self) -> datetime:
        """When it began: the estimate is of the prices of then."""


@dataclass(slots=True)
class Call:
    """A call that its provider bills: it had answered, `said` that many characters at least.

    `usage` is None where the provider did not tell it.
    """

    model: Model
    prompt: Prompt
    at: datetime
    usage: Usage | None = None
    said: int = 0

    @property
    def billed(self) -> Usage:
        """As its provider told it, else estimated."""
        return self.usage or estimated_usage(self.prompt, self.said)


class Billing:
    """Reserves of the budgets, and bills."""

    def __init__(self, guard: BudgetGuard, catalogue: Catalogue) -> None:
        self._guard = guard
        self._catalogue = catalogue

    async def reserve(
        self,
        errand: Errand,
        model: Model,
        prompt: Prompt,
        *,
        earlier: Reservation | None = None,
        calls: Sequence[Call] = (),
    ) -> tuple[Reservation, Prompt]:
        """Holds the most that the call may cost. Where a budget does, the prompt bounds the answer.

        It takes the place of an `earlier` reservation, and holds what the `calls` of that cost too.
        Raises `BudgetExhaustedError`, `PriceUnknownError`, `StoreUnavailableError`.
        """
        number = errand.attempt * MAX_CALLS
        if earlier is not None:
            await self._guard.release(earlier)
            number = earlier.spender.attempt + 1
        spender = Spender(errand.turn_id, number, errand.project_id, errand.user_id)
        most = estimate(model, prompt, errand.updated_at)
        if most is not None:
            charges = [self._charge(errand, 1, call, None) for call in calls]
            most += sum((charge.dollars or Decimal() for charge in charges), Decimal())
        reservation = await self._guard.reserve(spender, most)
        if reservation.holds:
            prompt = replace(prompt, max_output_tokens=output_limit(model, prompt))
        return reservation, prompt

    async def refreshed(self, reservation: Reservation | None) -> Reservation | None:
        """The reservation as far as it did not expire."""
        return await self._guard.refreshed(reservation) if reservation else None

    async def bill(
        self,
        errand: Errand,
        reservation: Reservation | None,
        calls: Sequence[Call],
        delivered: int | None,
    ) -> Bill:
        """What the calls cost, and what changes in the budgets. `delivered` is of the last one: of
        the others, whose answers began anew, nothing was.
        """
        charges = [
            self._charge(errand, number, call, delivered if call is calls[-1] else 0)
            for number, call in enumerate(calls, start=1)
        ]
        known = [charge.cost for charge in charges if charge.cost is not None]
        settlement = None
        if reservation is not None:
            settlement = await self._guard.settlement(reservation, sum(known))
        cost: Decimal | None = None
        if charges and len(known) == len(charges):
            cost = from_pico(sum(known))
        usage: Usage | None = None
        for charged in charges:
            usage = charged.usage if usage is None else usage + charged.usage
        return Bill(
            usage=usage,
            cost=None if cost is None else usd(cost),
            delivered_tokens=delivered,
            estimated=any(charge.estimated for charge in charges),
            charges=tuple(charges),
            settlement=settlement,
        )

    def _charge(self, errand: Errand, number: int, call: Call, delivered: int | None) -> Charge:
        return charge(
            self._catalogue,
            call.model,
            call.billed,
            turn_id=errand.turn_id,
            attempt=errand.attempt,
            call=number,
            session_id=errand.session_id,
            project_id=errand.project_id,
            user_id=errand.user_id,
            at=call.at,
            delivered=delivered,
            estimated=call.usage is None,
        )
