"""Usage and budgets: what the fake and DynamoDB keep alike, whoever comes at the same time."""

import asyncio
import itertools
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from functions.ai.adapters.dynamodb_budgets import DynamoBudgets, settlement_writes
from functions.ai.adapters.dynamodb_usage import DynamoUsage, usage_writes
from functions.ai.domain.audit import Operations
from functions.ai.domain.budget_counters import SETTLING_SECONDS
from functions.ai.domain.budget_guard import CACHE_SECONDS, HOLD_SECONDS, BudgetGuard
from functions.ai.domain.budget_service import BudgetService
from functions.ai.domain.budgets import Period, Scope, Spender, periods_at
from functions.ai.domain.inference import Usage
from functions.ai.domain.money_errors import (
    BudgetExhaustedError,
    BudgetNotFoundError,
    PriceUnknownError,
)
from functions.ai.domain.usage import Charge, Tally, UsageFilter, total
from servicekit.audit import AuditTrail
from servicekit.dynamodb import TransactionRefusedError
from tests.fakes.memory import MemoryOutbox
from tests.fakes.memory_money import MemoryMoney

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
CENT = 10**10
PROJECT = Scope(7, None)
USER = Scope(None, 3)
BOTH = Scope(7, 3)
DAY, MONTH = periods_at(NOON)


class Books:
    """The stores with the end of a turn, and a clock."""

    def __init__(self, usage: Any, budgets: Any, finish: Any) -> None:
        self.usage = usage
        self.budgets = budgets
        self.finish = finish
        self.now = NOON
        self.numbers = itertools.count(1)
        self.guard = self.new_guard()
        operations = Operations(AuditTrail(MemoryOutbox(), self.clock))
        self.service = BudgetService(budgets, usage, self.clock, operations)

    def clock(self) -> datetime:
        return self.now

    def new_guard(self) -> BudgetGuard:
        """That of another process: it has read nothing."""
        return BudgetGuard(self.budgets, self.usage, self.clock)

    def spender(self, project_id: int = 7, user_id: int = 3) -> Spender:
        return Spender(f"turn-{next(self.numbers)}", 1, project_id, user_id)

    async def reserve(self, dollars: str, **whose: int) -> Any:
        return await self.guard.reserve(self.spender(**whose), Decimal(dollars))

    async def end(self, reservation: Any, cost: int | None = CENT, guard: Any = None) -> bool:
        settlement = await (guard or self.guard).settlement(reservation, cost)
        return bool(await self.finish(charge_of(reservation, cost), settlement))

    async def committed(self, scope: Scope, period: Period = DAY) -> int | None:
        (counter,) = await self.budgets.counters(scope, [period])
        return None if counter is None else counter.committed

    async def spend(self, cost: int, **whose: int) -> None:
        """A turn where no budget is known."""
        spender = self.spender(**whose)
        await self.finish(charge(spender, cost=cost, at=self.now), None)


def charge(spender: Spender, **fields: Any) -> Charge:
    return Charge(
        **{
            "turn_id": spender.turn_id,
            "attempt": spender.attempt,
            "session_id": "s1",
            "project_id": spender.project_id,
            "user_id": spender.user_id,
            "provider": "openai",
            "model": "m",
            "usage": Usage(10, 20, 3, 4, 5, 6),
            "cost": CENT,
            "price_list": "genai-prices 0",
            "at": NOON,
            **fields,
        }
    )


def charge_of(reservation: Any, cost: int | None) -> Charge:
    return charge(reservation.spender, cost=cost, at=reservation.at)


@pytest.fixture(params=["memory", "dynamodb"])
def books(request):
    if request.param == "memory":
        money = MemoryMoney()

        async def finish_now(charged, settlement):
            return money.finish(charged, settlement)

        return Books(money, money, finish_now)
    table = request.getfixturevalue("table")

    async def finish(charged, settlement):
        writes = [
            *(usage_writes(charged) if charged else []),
            *(settlement_writes(settlement) if settlement else []),
        ]
        try:
            await table.transact(writes)
        except TransactionRefusedError:
            return False
        return True

    return Books(DynamoUsage(table), DynamoBudgets(table), finish)


async def sums(books: Books, project_id: int | None, user_id: int | None, **days: date):
    wanted = UsageFilter(
        project_id, user_id, days.get("first", DAY.first), days.get("last", DAY.first)
    )
    return [aggregate async for aggregate in books.usage.aggregates(wanted)]


async def test_the_sums_of_projects_and_of_users_are_the_sum_of_the_charges(books):
    charges = [
        charge(
            books.spender(project_id, user_id),
            model=model,
            provider=provider,
            usage=Usage(n, n + 1, n + 2, n + 3, n + 4, n + 5),
            cost=None if n % 5 == 0 else n,
            estimated=n % 3 == 0,
            at=NOON + timedelta(days=n % 3),
        )
        for n, (project_id, user_id, provider, model) in enumerate(
            itertools.product((7, 8), (3, 30), ("openai", "bedrock"), ("m", "a#b:c/d"))
        )
    ]
    for one in charges:
        assert await books.finish(one, None)
    days = {"last": DAY.first + timedelta(days=2)}
    everything = sum((one.tally for one in charges), Tally())
    projects = [a for p in (7, 8) for a in await sums(books, p, None, **days)]
    users = [a for u in (3, 30) for a in await sums(books, None, u, **days)]
    both = [a for p in (7, 8) for u in (3, 30) for a in await sums(books, p, u, **days)]
    assert total(projects) == total(users) == total(both) == everything
    assert everything.tokens == sum(one.usage.total for one in charges)
    assert everything.cost == sum(one.cost or 0 for one in charges)
    assert {(a.project_id, a.user_id, a.model, a.day) for a in projects} == {
        (c.project_id, c.user_id, c.model, c.day) for c in charges
    }


async def test_an_attempt_is_charged_once(books):
    one = charge(books.spender())
    ends = await asyncio.gather(*(books.finish(one, None) for _ in range(5)))
    assert ends.count(True) == 1
    assert total(await sums(books, 7, None)) == one.tally
    assert await books.finish(charge(Spender(one.turn_id, 2, 7, 3)), None)
    assert total(await sums(books, 7, None)).calls == 2


async def test_usage_is_of_its_days(books):
    for hours in (-37, -12, 0, 12):
        await books.finish(charge(books.spender(), at=NOON + timedelta(hours=hours)), None)
    days = [a.day.isoformat() for a in await sums(books, 7, None)]
    assert days == ["2026-11-27"]
    assert total(await sums(books, 7, None)).calls == 2
    later = await sums(books, 7, None, last=date(2026, 11, 28))
    assert total(later).calls == 3


async def test_fifty_at_once_against_a_budget_for_ten_are_ten(books):
    await books.service.put(PROJECT, Decimal("0.10"), None)

    async def attempt(user_id: int) -> Any:
        # Each as a process of its own, with the budgets of its own user.
        return await books.new_guard().reserve(books.spender(7, user_id), Decimal("0.01"))

    answers = await asyncio.gather(
        *(attempt(user_id) for user_id in range(1, 51)), return_exceptions=True
    )
    admitted = [answer for answer in answers if not isinstance(answer, BaseException)]
    refused = [answer for answer in answers if isinstance(answer, BudgetExhaustedError)]
    assert (len(admitted), len(refused)) == (10, 40)
    assert await books.committed(PROJECT) == 10 * CENT
    for reservation in admitted:
        assert await books.end(reservation, CENT // 2)
    assert await books.committed(PROJECT) == 5 * CENT
    again = await asyncio.gather(
        *(attempt(user_id) for user_id in range(1, 11)), return_exceptions=True
    )
    assert sum(not isinstance(answer, BaseException) for answer in again) == 5


async def test_where_no_budget_is_nothing_is_written_and_little_read(books):
    reservation = await books.reserve("1000000")
    assert reservation.holds == ()
    assert await books.committed(PROJECT) is None
    assert (await books.guard.settlement(reservation, CENT)).moves == ()
    assert await books.guard.reserve(books.spender(), None)
    if isinstance(books.budgets, MemoryMoney):
        assert books.budgets.reads == 1


async def test_every_budget_of_a_call_must_have_room(books):
    await books.service.put(PROJECT, Decimal(10), None)
    await books.service.put(USER, None, Decimal("0.02"))
    await books.service.put(BOTH, Decimal("0.01"), Decimal("0.05"))
    first = await books.reserve("0.01")
    with pytest.raises(BudgetExhaustedError) as refused:
        await books.reserve("0.01")
    assert refused.value.extensions["budget"] == {
        "scope": "project-7-user-3",
        "period": "day",
        "limit": "0.01",
        "left": "0",
        "needed": "0.01",
        "renews_at": "2026-11-28T00:00:00.000000Z",
    }
    # What one budget refuses the others do not keep.
    assert await books.committed(PROJECT) == CENT
    # In another project the user's month counts, in the same project another user's does not.
    await books.reserve("0.01", project_id=8)
    with pytest.raises(BudgetExhaustedError) as refused:
        await books.reserve("0.01", project_id=9)
    told = refused.value.extensions["budget"]
    assert (told["scope"], told["period"]) == ("user-3", "month")
    assert told["renews_at"] == "2026-12-01T00:00:00.000000Z"
    await books.reserve("0.01", user_id=4)
    assert await books.end(first, 0)
    assert await books.committed(BOTH) == 0


async def test_what_was_spent_before_there_was_a_budget_counts(books):
    await books.spend(3 * CENT)
    await books.spend(4 * CENT, user_id=4)
    books.now += timedelta(days=-1)
    await books.spend(5 * CENT)
    books.now = NOON
    view = await books.service.put(PROJECT, Decimal("0.08"), Decimal("0.50"))
    assert [counter.spent for _, counter in view.periods] == [7 * CENT, 12 * CENT]
    with pytest.raises(BudgetExhaustedError):
        await books.reserve("0.02")
    await books.reserve("0.01")
    assert await books.committed(PROJECT, MONTH) == 13 * CENT


async def test_what_is_spent_while_a_budget_is_not_known_everywhere_is_found_later(books):
    other = books.new_guard()
    unaware = await other.reserve(books.spender(), Decimal("0.05"))
    await books.service.put(PROJECT, Decimal("0.09"), None)
    # The other process still believes that there is none.
    assert await books.end(unaware, 5 * CENT, other)
    assert await books.committed(PROJECT) == 0
    books.now += timedelta(seconds=SETTLING_SECONDS)
    with pytest.raises(BudgetExhaustedError):
        await books.reserve("0.05")
    assert await books.committed(PROJECT) == 5 * CENT
    await books.reserve("0.04")


async def test_a_turn_that_began_before_its_budget_counts_when_it_ends(books):
    early = await books.new_guard().reserve(books.spender(), Decimal("0.05"))
    await books.service.put(PROJECT, Decimal(1), None)
    assert await books.end(early, 5 * CENT)
    assert await books.committed(PROJECT) == 5 * CENT
    # It is in the usage too, and is not counted twice when the counter is seeded again.
    books.now += timedelta(seconds=SETTLING_SECONDS)
    await books.reserve("0.01")
    assert await books.committed(PROJECT) == 6 * CENT


async def test_a_turn_that_ends_before_its_counter_is_there_counts_once(books):
    early = await books.new_guard().reserve(books.spender(), Decimal("0.05"))
    await books.service.put(PROJECT, Decimal(1), None)
    tomorrow = NOON + timedelta(days=1)
    books.now = tomorrow
    late = await books.new_guard().reserve(books.spender(), Decimal("0.05"))
    assert late.holds
    await books.end(late, 2 * CENT)
    assert await books.end(early, 5 * CENT)
    # The day of a turn is that on which it began.
    assert await books.committed(PROJECT, DAY) == 5 * CENT
    assert await books.committed(PROJECT, periods_at(tomorrow)[0]) == 2 * CENT
    assert await books.committed(PROJECT, MONTH) == 7 * CENT


async def test_a_turn_that_ends_while_its_counter_is_seeded_counts_once(books):
    """It is neither in the usage that was read nor lost, whichever came first."""
    await books.service.put(PROJECT, Decimal(1), None)
    running = await books.reserve("0.05")
    books.now += timedelta(seconds=SETTLING_SECONDS)
    aggregates = books.usage.aggregates
    ended = []

    async def read_and_end(wanted):
        found = [aggregate async for aggregate in aggregates(wanted)]
        if not ended:
            ended.append(await books.end(running, 3 * CENT))
        for aggregate in found:
            yield aggregate

    books.usage.aggregates = read_and_end
    await books.reserve("0.01")
    assert ended == [True]
    assert await books.committed(PROJECT) == 4 * CENT
    (counter, _) = await books.budgets.counters(PROJECT, [DAY, MONTH])
    assert counter.spent == 3 * CENT


async def test_a_failed_call_gives_back_what_it_held_once(books):
    await books.service.put(PROJECT, Decimal("0.01"), None)
    reservation = await books.reserve("0.01")
    await books.guard.release(reservation)
    await books.guard.release(reservation)
    assert await books.committed(PROJECT) == 0
    await books.reserve("0.01")


async def test_what_crashed_holders_left_is_freed_once_and_only_when_it_is_due(books):
    await books.service.put(PROJECT, Decimal("0.10"), None)
    for user_id in range(1, 11):
        await books.reserve("0.01", user_id=user_id)
    books.now += timedelta(seconds=HOLD_SECONDS - 1)
    with pytest.raises(BudgetExhaustedError):
        await books.reserve("0.01")
    books.now += timedelta(seconds=2)
    answers = await asyncio.gather(
        *(books.new_guard().reserve(books.spender(7, n), Decimal("0.01")) for n in range(1, 16)),
        return_exceptions=True,
    )
    admitted = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(admitted) == 10
    assert await books.committed(PROJECT) == 10 * CENT


async def test_a_hold_that_was_freed_is_settled_without_it(books):
    await books.service.put(PROJECT, Decimal("0.01"), None)
    await books.service.put(USER, Decimal(1), None)
    slow = await books.reserve("0.01")
    books.now += timedelta(seconds=HOLD_SECONDS + 1)
    await books.reserve("0.01", user_id=4)
    assert not await books.end(slow, CENT // 2)
    assert total(await sums(books, 7, None)) == Tally()
    refreshed = await books.guard.refreshed(slow)
    assert [hold.scope for hold in refreshed.holds] == [USER]
    assert await books.end(refreshed, CENT // 2)
    # Beside what the second holds; the budget's user had its own hold to the end.
    assert await books.committed(PROJECT) == CENT + CENT // 2
    assert await books.committed(USER) == CENT // 2


async def test_a_limit_may_change_while_something_is_held(books):
    await books.service.put(PROJECT, Decimal("0.05"), None)
    held = await books.reserve("0.05")
    await books.service.put(PROJECT, Decimal("0.01"), Decimal("0.06"))
    books.guard = books.new_guard()
    with pytest.raises(BudgetExhaustedError) as refused:
        await books.reserve("0.001")
    assert refused.value.extensions["budget"]["left"] == "0"
    assert await books.end(held, 5 * CENT)
    await books.service.put(PROJECT, None, Decimal("0.06"))
    books.guard = books.new_guard()
    # The month has counted all along.
    with pytest.raises(BudgetExhaustedError):
        await books.reserve("0.02")
    await books.reserve("0.01")
    assert await books.committed(PROJECT, MONTH) == 6 * CENT


async def test_a_budget_that_is_removed_binds_no_more_and_may_come_back(books):
    await books.service.put(PROJECT, Decimal("0.05"), None)
    held = await books.reserve("0.05")
    await books.service.remove(PROJECT)
    with pytest.raises(BudgetNotFoundError):
        await books.service.remove(PROJECT)
    with pytest.raises(BudgetNotFoundError):
        await books.service.get(PROJECT)
    books.guard = books.new_guard()
    free = await books.reserve("1")
    assert free.holds == ()
    assert await books.end(free, 2 * CENT)
    books.now += timedelta(seconds=1)
    await books.service.put(PROJECT, Decimal("0.10"), None)
    assert await books.committed(PROJECT) == 7 * CENT
    assert await books.end(held, CENT)
    assert await books.committed(PROJECT) == 3 * CENT


async def test_a_model_without_a_price_is_refused_where_a_budget_is(books):
    await books.service.put(USER, Decimal(1), None)
    with pytest.raises(PriceUnknownError, match="user-3"):
        await books.guard.reserve(books.spender(), None)
    assert await books.guard.reserve(books.spender(user_id=4), None)


async def test_a_new_day_begins_anew_and_the_month_goes_on(books):
    await books.service.put(PROJECT, Decimal("0.05"), Decimal("0.08"))
    await books.end(await books.reserve("0.05"), 5 * CENT)
    books.now += timedelta(days=1)
    with pytest.raises(BudgetExhaustedError) as refused:
        await books.reserve("0.04")
    assert refused.value.extensions["budget"]["period"] == "month"
    await books.reserve("0.03")


async def test_settlements_and_reservations_at_once_leave_what_was_spent(books):
    await books.service.put(PROJECT, Decimal(100), None)

    async def turn(n: int) -> None:
        guard = books.new_guard()
        reservation = await guard.reserve(books.spender(7, n), Decimal("0.05"))
        if n % 4 == 0:
            await guard.release(reservation)
            return
        while not await books.end(reservation, n, guard):
            pass

    await asyncio.gather(*(turn(n) for n in range(1, 21)))
    spent = sum(n for n in range(1, 21) if n % 4)
    assert await books.committed(PROJECT) == spent
    assert total(await sums(books, 7, None)).cost == spent


async def test_what_is_kept_comes_back(table):
    charged = charge(
        Spender("t", 2, 7, 3), cost=123_456_789, delivered=12, estimated=True, usage=Usage(1, 2)
    )
    await table.transact(usage_writes(charged))
    item = await table.get({"pk": "CHARGE#t", "sk": f"{2:010}#1"})
    assert item is not None
    kept = {name: item[name] for name in item if name not in {"pk", "sk"}}
    assert kept == {
        "turn_id": "t", "attempt": 2, "call": 1, "session_id": "s1", "project_id": 7, "user_id": 3,
        "provider": "openai", "model": "m", "price_list": "genai-prices 0", "day": "2026-11-27",
        "at": "2026-11-27T12:00:00.000000Z", "cost": "0.000123456789", "estimated": True,
        "delivered_tokens": 12, "billed_tokens": 3, "input_tokens": 1, "output_tokens": 2,
        "cache_read_tokens": 0, "cache_write_tokens": 0, "cache_write_1h_tokens": 0,
        "reasoning_tokens": 0,
    }  # fmt: skip


async def test_usage_of_many_pages_is_read_whole(table):
    books = Books(DynamoUsage(table), DynamoBudgets(table), None)
    for project_id, user_id in itertools.product((7, 8), (3, 4)):
        await table.transact(
            usage_writes(charge(Spender(f"{project_id}{user_id}", 1, project_id, user_id)))
        )
    query, pages = table.query, []

    async def query_one_at_a_time(*arguments, **options):
        page = await query(*arguments, **options, limit=1)
        pages.append(len(page.items))
        return page

    table.query = query_one_at_a_time
    assert [a.user_id for a in await sums(books, 7, None)] == [3, 4]
    assert [a.project_id for a in await sums(books, 8, 3)] == [8]
    # One of the user's projects was filtered away.
    assert 0 in pages


async def test_what_is_held_outlives_its_counters(table):
    books = Books(DynamoUsage(table), DynamoBudgets(table), None)
    await books.service.put(PROJECT, Decimal(1), None)
    await books.reserve("0.01")
    page = await table.query("pk = :pk", {":pk": "BUDGET#project-7"})
    expiries = {str(item["sk"]).split("#")[0]: item.get("expires_at") for item in page.items}
    assert expiries["BUDGET"] is None
    # The table's TTL would not give back what it removes.
    assert expiries["HOLD"] == (MONTH.end + timedelta(days=3)).timestamp()
    assert {"COUNTER", "HOLD", "BUDGET"} == expiries.keys()


async def test_what_a_process_knows_of_budgets_is_read_again_in_time(books, monkeypatch):
    loop = asyncio.get_running_loop()
    start = loop.time()
    await books.reserve("1")
    await books.service.put(PROJECT, Decimal("0.01"), None)
    assert (await books.reserve("1")).holds == ()
    monkeypatch.setattr(loop, "time", lambda: start + CACHE_SECONDS + 1)
    with pytest.raises(BudgetExhaustedError):
        await books.reserve("1")


def test_every_bucket_of_a_usage_is_summed():
    usage = Usage(1, 2, 4, 8, 16, 32)
    tally = charge(Spender("t", 1, 7, 3), usage=usage).tally
    assert tally.tokens == usage.total == 63
    assert {name: getattr(tally, f"{name}_tokens") for name in asdict(usage)} == asdict(usage)
