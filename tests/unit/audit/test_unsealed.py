"""Records that are an hour old and not in the log are counted, each of them, whatever fails."""

import logging
from datetime import timedelta

import pytest

from functions.audit.domain import unsealed
from functions.audit.domain.merkle import leaf_hash
from functions.audit.domain.models import Entry, Leaf, Marker, Searched
from functions.audit.domain.unsealed import BUDGET, PAGE, SETTLED, WINDOW, UnsealedSearch
from tests.fakes.audit_log import Interruptions, KilledError, LedgerState, MemoryLedger
from tests.fakes.audit_reading import NOW, Clock, MemoryRecords, entry

pytestmark = pytest.mark.anyio
HOT_DAYS = 90
AN_HOUR = SETTLED.total_seconds()


class State:
    """`ports.SearchState`."""

    def __init__(self) -> None:
        self.saved: Searched | None = None
        self.interruptions = Interruptions()

    async def load(self):
        return self.saved

    async def save(self, searched):
        await self.interruptions.before("save")
        won = searched.version == (self.saved.version if self.saved else 0) + 1
        if won:
            self.saved = searched
        await self.interruptions.done()
        return won


class Metrics:
    """`Metrics`; `interruptions` count what is told of records, not the age."""

    def __init__(self) -> None:
        self.told: list[float] = []
        self.ages: list[float] = []
        self.interruptions = Interruptions()

    async def put(self, values):
        ((name, value),) = values.items()
        if name == unsealed.UNSEARCHED:
            self.ages.append(value)
            return
        await self.interruptions.before(name)
        self.told.append(value)
        await self.interruptions.done()


class Sink:
    """Records, what the ledger says of them, and the search over both."""

    def __init__(self) -> None:
        self.records = MemoryRecords()
        self.ledger = LedgerState()
        self.state = State()
        self.metrics = Metrics()
        self.clock = Clock()

    def put(self, event_id: str, minutes: float, **fields) -> Entry:
        """A record of so many minutes before now, as the clock has it."""
        stored = entry(event_id, self.clock() - timedelta(minutes=minutes), **fields)
        self.records.entries.append(stored)
        return stored

    def seal(self, stored: Entry) -> None:
        leaf = Leaf(0, stored.event_id, leaf_hash(stored.record), stored.accepted_at)
        self.ledger.leaves[leaf.event_id, leaf.leaf_hash] = leaf

    def mark(self, stored: Entry) -> None:
        digest = leaf_hash(stored.record)
        self.ledger.put(Marker(stored.event_id, stored.accepted_at, digest, stored.terms))

    def slow_down(self, seconds: float) -> None:
        """Each page takes so long from now on."""
        find = self.records.find

        async def slowly(*arguments):
            self.clock.move(seconds=seconds)
            return await find(*arguments)

        self.records.find = slowly

    async def run(self) -> int:
        return await UnsealedSearch(
            self.records,
            MemoryLedger(self.ledger),
            self.state,
            self.metrics,
            HOT_DAYS,
            self.clock,
        ).run()


async def test_sealed_records_count_nothing(caplog):
    sink = Sink()
    for number in range(450):
        sink.seal(sink.put(f"e{number}", 60 + (number + 1) / 30))
    assert await sink.run() == 0
    assert sink.metrics.told == []
    assert sink.metrics.ages == [AN_HOUR]
    assert caplog.records == []


async def test_a_record_without_a_marker_is_counted_and_named(caplog):
    sink = Sink()
    sink.seal(sink.put("sealed", 61))
    sink.put("lost", 65)
    with caplog.at_level(logging.ERROR):
        assert await sink.run() == 1
    assert sink.metrics.told == [1]
    (line,) = caplog.records
    assert (line.records, line.event_ids, line.pending) == (1, ["lost"], [])


async def test_a_record_that_is_pending_for_an_hour_counts_too(caplog):
    sink = Sink()
    sink.mark(sink.put("late", 65))
    with caplog.at_level(logging.ERROR):
        assert await sink.run() == 1
    (line,) = caplog.records
    assert (line.event_ids, line.pending) == (["late"], ["late"])


async def test_other_bytes_under_a_sealed_id_count():
    sink = Sink()
    sink.seal(entry("e1", NOW - timedelta(minutes=65)))
    sink.put("e1", 65, action="other")
    assert await sink.run() == 1


async def test_few_are_named_of_many(caplog):
    sink = Sink()
    for number in range(150):
        sink.put(f"e{number:03}", 65)
    with caplog.at_level(logging.ERROR):
        assert await sink.run() == 150
    (line,) = caplog.records
    assert (line.records, len(line.event_ids)) == (150, 20)


async def test_the_first_run_looks_at_all_that_the_table_keeps():
    sink = Sink()
    for days in (0.05, 1, 89):
        sink.put(f"in{days}", days * 24 * 60)
    for minutes in (0, 30, 60, 90 * 24 * 60 + 1):
        sink.put(f"out{minutes}", minutes)
    assert await sink.run() == 3


async def test_each_is_found_once_when_it_is_an_hour_old():
    sink = Sink()
    found = []
    for number in range(30):
        sink.put(f"e{number:02}", 0)
        found.append(await sink.run())
        sink.clock.move(minutes=5)
    # Accepted at that very moment is not before it: the run after the hour finds it.
    assert found == [0] * 13 + [1] * 17
    assert sink.metrics.ages == [AN_HOUR] * 30


async def test_nothing_is_left_out_while_runs_fail():
    sink = Sink()
    await sink.run()
    for number in range(200):
        sink.put(f"e{number:03}", -number)
    sink.clock.move(hours=12)
    sink.records.failure = OSError("out of reach")
    for _ in range(3):
        with pytest.raises(OSError, match="out of reach"):
            await sink.run()
    assert sink.metrics.ages == [AN_HOUR]
    sink.records.failure = None
    assert await sink.run() == 200
    # Its windows follow on each other, the oldest first, none longer than the longest.
    spans = list(dict.fromkeys((span.start, span.end) for span in sink.records.asked[1:]))
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]
    assert {end - start for start, end in spans} == {WINDOW}
    assert spans[-1][1] == sink.clock() - SETTLED


async def test_what_one_run_has_no_time_for_the_next_ones_look_at():
    sink = Sink()
    await sink.run()
    total = 20 * PAGE
    for number in range(total):
        sink.put(f"e{number:05}", 50 - number / 100)
    sink.clock.move(hours=2)
    sink.slow_down(BUDGET.total_seconds() / 4)
    assert [await sink.run() for _ in range(5)] == [4 * PAGE] * 5
    assert sum(sink.metrics.told) == total
    # The oldest of a window come last: before it is done nothing of it counts as looked at.
    budget = BUDGET.total_seconds()
    ages = [3 * AN_HOUR + run * budget for run in (1, 2, 3, 4)]
    assert sink.metrics.ages == [AN_HOUR, *ages, 2 * AN_HOUR + 5 * budget]
    assert await sink.run() == 0


async def test_a_run_ends_in_time_and_looks_at_a_page_at_least():
    sink = Sink()
    for number in range(2 * PAGE):
        sink.put(f"e{number:03}", 65)
    sink.slow_down(10 * BUDGET.total_seconds())
    assert [await sink.run(), await sink.run()] == [PAGE, PAGE]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("where", ["state", "metrics"])
async def test_a_crash_has_records_told_twice_rather_than_never(where, call, after):
    sink = Sink()
    for number in range(3 * PAGE):
        sink.put(f"e{number:03}", 65)
    struck = getattr(sink, where)
    struck.interruptions = Interruptions(kill_at=call, after=after)
    with pytest.raises(KilledError):
        await sink.run()
    saved = sink.state.saved.version if sink.state.saved else 0
    # What is behind the stored place was told.
    assert sum(sink.metrics.told) >= saved * PAGE
    struck.interruptions = Interruptions()
    assert await sink.run() == (3 - saved) * PAGE
    assert 3 * PAGE <= sum(sink.metrics.told) <= 4 * PAGE


async def test_of_two_runs_at_once_one_goes_on():
    sink = Sink()
    for number in range(3 * PAGE):
        sink.put(f"e{number:03}", 65)
    rival = []
    find = sink.records.find

    async def meanwhile(*arguments):
        page = await find(*arguments)
        sink.records.find = find
        rival.append(await sink.run())
        return page

    sink.records.find = meanwhile
    assert await sink.run() == PAGE
    assert rival == [3 * PAGE]
    assert sink.state.saved.version == 3
    assert sink.metrics.ages == [AN_HOUR]
    assert await sink.run() == 0


async def test_a_clock_that_goes_back_moves_nothing():
    sink = Sink()
    await sink.run()
    saved = sink.state.saved
    sink.clock.move(minutes=-10)
    assert await sink.run() == 0
    assert sink.state.saved == saved
