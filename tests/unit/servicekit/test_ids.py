"""Sortable strings, and integers drawn in blocks."""

import asyncio
from uuid import UUID

import pytest

from servicekit.ids import (
    MAX_INTEGER_ID,
    IdsExhaustedError,
    IntegerIds,
    new_ulid,
    new_uuid7,
)
from tests.fakes.memory import MemoryCounter

pytestmark = pytest.mark.anyio


async def test_uuids_are_of_version_7():
    made = UUID(new_uuid7())
    assert (made.version, made.variant) == (7, "specified in RFC 4122")


async def test_strings_sort_by_time(monkeypatch):
    for make in (new_uuid7, new_ulid):
        made = []
        for millisecond in (1, 2, 1000, 1_800_000_000_000):
            monkeypatch.setattr("time.time_ns", lambda at=millisecond: at * 1_000_000)
            made.append(make())
        assert made == sorted(made)
        assert len(set(made)) == 4


async def test_ulids_are_26_characters_that_begin_with_their_time(monkeypatch):
    monkeypatch.setattr("time.time_ns", lambda: 1469918176385 * 1_000_000)
    assert new_ulid()[:10] == "01ARYZ6S41"
    assert len(new_ulid()) == 26


async def test_a_block_serves_many_draws():
    counter = MemoryCounter(floor=1000)
    ids = IntegerIds(counter, "session")
    drawn = [await ids.draw() for _ in range(IntegerIds.BLOCK_SIZE + 1)]
    assert drawn == list(range(1001, 1002 + IntegerIds.BLOCK_SIZE))
    assert counter.draws == 2


async def test_processes_and_tasks_never_draw_the_same():
    counter = MemoryCounter()
    processes = [IntegerIds(counter, "message") for _ in range(3)]
    drawn = await asyncio.gather(*(p.draw() for _ in range(150) for p in processes))
    assert len(set(drawn)) == 450


async def test_tasks_that_draw_at_once_share_one_block():
    class SlowCounter(MemoryCounter):
        async def draw(self, name, size):
            await asyncio.sleep(0)
            return await super().draw(name, size)

    counter = SlowCounter()
    ids = IntegerIds(counter, "message")
    drawn = await asyncio.gather(*(ids.draw() for _ in range(10)))
    assert sorted(drawn) == list(range(1, 11))
    assert counter.draws == 1


async def test_ids_end_below_two_to_the_31():
    counter = MemoryCounter(floor=MAX_INTEGER_ID - IntegerIds.BLOCK_SIZE)
    ids = IntegerIds(counter, "session")
    drawn = [await ids.draw() for _ in range(IntegerIds.BLOCK_SIZE)]
    assert drawn[-1] == MAX_INTEGER_ID
    with pytest.raises(IdsExhaustedError):
        await ids.draw()
