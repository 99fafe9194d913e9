"""Reservations when others are in the way, and what a process remembers of budgets."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from functions.ai.domain import budget_guard
from functions.ai.domain.budget_guard import BudgetGuard
from functions.ai.domain.budgets import Budget, Scope, Spender
from functions.ai.domain.money_errors import BudgetExhaustedError
from servicekit.backoff import full_jitter
from servicekit.dynamodb import WriteConflictError
from servicekit.errors import StoreUnavailableError
from tests.fakes.memory_money import MemoryMoney

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
CENT = 10**10


class Busy(MemoryMoney):
    """Has others in the way of so many reservations, then of none."""

    def __init__(self, conflicts: int) -> None:
        super().__init__()
        self.conflicts = conflicts
        self.tries = 0

    async def hold(self, claims):
        self.tries += 1
        if self.tries <= self.conflicts:
            raise WriteConflictError(retry_after=1)
        return await super().hold(claims)


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The longest pause that each attempt might have had; none is waited for."""
    longest: list[float] = []

    def pause(attempt, first, most):
        longest.append(full_jitter(attempt, first, most, lambda: 1.0))
        return 0

    monkeypatch.setattr(budget_guard, "full_jitter", pause)
    return longest


def guard(store):
    store.kept[Scope(7, None)] = Budget(Scope(7, None), 2 * CENT, None, NOW, NOW)
    return BudgetGuard(store, store, lambda: NOW)


def spender(number=1):
    return Spender(f"t{number}", 1, 7, 3)


async def test_a_conflict_is_tried_again_after_ever_longer_pauses(pauses):
    store = Busy(8)
    reservation = await guard(store).reserve(spender(), Decimal("0.01"))
    assert store.holds == list(reservation.holds)
    assert pauses == [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5, 0.5]


async def test_conflicts_without_end_end_at_the_deadline(monkeypatch):
    monkeypatch.setattr(budget_guard, "_PATIENCE_SECONDS", 0.05)
    store = Busy(10**9)
    with pytest.raises(StoreUnavailableError) as refused:
        await guard(store).reserve(spender(), Decimal("0.01"))
    assert refused.value.headers == {"Retry-After": "1"}
    assert store.holds == []


async def test_an_exhausted_budget_is_not_waited_for(pauses):
    store = Busy(0)
    bounded = guard(store)
    await bounded.reserve(spender(), Decimal("0.02"))
    with pytest.raises(BudgetExhaustedError):
        await bounded.reserve(spender(2), Decimal("0.01"))
    assert pauses == []


async def test_room_that_appears_between_the_refusal_and_the_look_is_taken():
    store = MemoryMoney()
    bounded = guard(store)
    first = await bounded.reserve(spender(), Decimal("0.02"))
    hold = store.hold

    async def hold_while_another_ends(claims):
        obstacles = await hold(claims)
        store.hold = hold
        await bounded.release(first)
        return [type(o)(o.claim, o.period, store.counted[o.claim.budget.scope, o.period])
                for o in obstacles]  # fmt: skip

    store.hold = hold_while_another_ends
    assert (await bounded.reserve(spender(2), Decimal("0.02"))).holds


async def test_what_is_known_of_budgets_is_read_once_for_all_calls_of_a_while():
    store = MemoryMoney()
    bounded = guard(store)
    for number in range(2):
        await bounded.reserve(spender(number), Decimal("0.01"))
    assert store.reads == 1
    await bounded.reserve(Spender("other", 1, 8, 3), Decimal("0.01"))
    assert store.reads == 2


async def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(budget_guard, "_CACHED", 6)
    store = MemoryMoney()
    bounded = guard(store)
    for user_id in range(1, 20):
        await bounded.reserve(Spender("t", user_id, 8, user_id), Decimal("0.01"))
    assert len(bounded._cache) == 6


async def test_calls_at_once_of_one_process_hold_no_more_than_there_is():
    store = MemoryMoney()
    bounded = guard(store)
    answers = await asyncio.gather(
        *(bounded.reserve(spender(n), Decimal("0.01")) for n in range(50)), return_exceptions=True
    )
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 2
