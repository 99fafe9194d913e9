"""What every store of summaries keeps: the fake and the real one."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from functions.ai.domain.budgets import BudgetSettlement, Hold, Scope
from functions.ai.domain.errors import HoldsExpiredError, SessionNotFoundError
from functions.ai.domain.inference import Usage
from functions.ai.domain.models import Draft, Session, SessionChanges
from functions.ai.domain.summaries import Summary
from functions.ai.domain.turns import Bill
from functions.ai.domain.usage import Charge, UsageFilter
from servicekit.errors import StoreUnavailableError

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
SESSION = Session("s1", 5, 7, 3, None, "bedrock", "m", "active", {}, NOW)
SUMMARY = Summary("They counted: 1, 2, 3. 🍵", 10, NOW)
CHARGE = Charge("c1", 1, "s1", 7, 3, "bedrock", "m", Usage(10, 40), 5, "p", NOW)
PAID = Bill(charges=(CHARGE,))
FREE = Bill()
LEASE = 900


async def taken(storage):
    await storage.sessions.create(SESSION, [Draft(1, "user", "Hi", NOW)], None)
    assert await storage.summaries.take("s1", 0, LEASE) is None


async def calls(storage):
    wanted = UsageFilter(7, None, NOW.date(), NOW.date())
    return sum([a.tally.calls async for a in storage.usage.aggregates(wanted)])


async def test_a_summary_is_kept_with_what_it_cost(storage):
    await taken(storage)
    assert await storage.summaries.summary("s1") is None
    assert await storage.summaries.keep("s1", SUMMARY, PAID, LEASE)
    assert await storage.summaries.summary("s1") == SUMMARY
    assert await calls(storage) == 1
    # It is no message, and the session is as it was.
    session = await storage.sessions.get("s1")
    assert [m.draft.content async for m in storage.sessions.messages(session)] == ["Hi"]
    assert session == replace(SESSION, next_sequence=2)


@pytest.mark.parametrize("up_to", [9, 10])
async def test_one_that_tells_of_as_much_is_not_replaced(storage, up_to):
    await taken(storage)
    await storage.summaries.keep("s1", SUMMARY, FREE, LEASE)
    late = Summary("Late", up_to, NOW)
    assert not await storage.summaries.keep("s1", late, PAID, LEASE)
    assert await storage.summaries.summary("s1") == SUMMARY
    assert await calls(storage) == 1
    more = Summary("More", 11, NOW)
    assert await storage.summaries.keep("s1", more, FREE, LEASE)
    assert await storage.summaries.summary("s1") == more


async def test_a_session_is_taken_by_one_until_its_lease_is_over(storage):
    await storage.sessions.create(SESSION, [], None)
    done = await asyncio.gather(*(storage.summaries.take("s1", 0, LEASE) for _ in range(4)))
    assert sorted(done, key=str) == [LEASE, LEASE, LEASE, None]
    assert await storage.summaries.take("s1", LEASE - 1, 2 * LEASE) == LEASE
    assert await storage.summaries.take("s1", LEASE, 2 * LEASE) is None
    # Who had it before keeps nothing any more, and lets go of nothing.
    assert not await storage.summaries.keep("s1", SUMMARY, PAID, LEASE)
    assert (await storage.summaries.summary("s1"), await calls(storage)) == (None, 1)
    await storage.summaries.leave("s1", LEASE)
    assert await storage.summaries.take("s1", LEASE, 3 * LEASE) == 2 * LEASE
    await storage.summaries.leave("s1", 2 * LEASE)
    assert await storage.summaries.take("s1", LEASE, 3 * LEASE) is None


async def test_a_session_that_is_gone_is_not_taken(storage):
    with pytest.raises(SessionNotFoundError):
        await storage.summaries.take("s1", 0, LEASE)
    await storage.summaries.leave("s1", LEASE)
    assert await storage.sessions.get("s1", even_deleted=True) is None


@pytest.mark.parametrize("gone", ["hide", "delete"])
async def test_a_session_that_goes_meanwhile_is_left_nothing_and_its_call_is_paid(storage, gone):
    await taken(storage)
    await getattr(storage.sessions, gone)("s1")
    assert not await storage.summaries.keep("s1", SUMMARY, PAID, LEASE)
    assert (await storage.summaries.summary("s1"), await calls(storage)) == (None, 1)
    with pytest.raises(SessionNotFoundError):
        await storage.summaries.take("s1", LEASE, 2 * LEASE)


async def test_a_deleted_session_takes_its_summary_along(storage):
    await taken(storage)
    await storage.summaries.keep("s1", SUMMARY, FREE, LEASE)
    await storage.sessions.delete("s1")
    assert await storage.summaries.summary("s1") is None


async def test_the_session_is_changed_beside_its_lease(storage):
    await taken(storage)
    await storage.sessions.change("s1", SessionChanges({"card_id": 4}, NOW))
    assert await storage.summaries.take("s1", 0, 2 * LEASE) == LEASE
    assert await storage.summaries.keep("s1", SUMMARY, FREE, LEASE)
    assert (await storage.sessions.get("s1")).card_id == 4


async def test_nothing_is_kept_of_what_cannot_be_paid(storage):
    await taken(storage)
    hold = Hold(Scope(7, None), "c1", 100, 5, NOW, LEASE)
    unpaid = replace(PAID, settlement=BudgetSettlement((hold,), ()))
    with pytest.raises(HoldsExpiredError):
        await storage.summaries.keep("s1", SUMMARY, unpaid, LEASE)
    with pytest.raises(HoldsExpiredError):
        await storage.summaries.pay(unpaid)
    with pytest.raises(HoldsExpiredError):
        # Neither the bill nor the summary can be stored.
        await storage.summaries.keep("s1", SUMMARY, unpaid, LEASE + 1)
    assert (await storage.summaries.summary("s1"), await calls(storage)) == (None, 0)


async def test_a_call_of_which_nothing_came_is_paid(storage):
    await storage.summaries.pay(FREE)
    await storage.summaries.pay(PAID)
    assert await calls(storage) == 1


async def test_a_store_that_fails_says_so(storage):
    if hasattr(storage.summaries, "failure"):
        storage.summaries.failure = StoreUnavailableError()
    else:
        storage.summaries._table.name = "another"
    for failing in (
        storage.summaries.summary("s1"),
        storage.summaries.take("s1", 0, LEASE),
        storage.summaries.keep("s1", SUMMARY, FREE, LEASE),
    ):
        with pytest.raises(StoreUnavailableError):
            await failing
