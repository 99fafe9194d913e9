"""Gaps: whatever order reports arrive in, exactly the missing numbers are named."""

import asyncio
import bisect
import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from functions.audit.domain.models import Gap, ProducerState, Span
from functions.audit.domain.reconciliation import (
    GRACE,
    MAX_GAPS,
    Completeness,
    Reconciler,
    ReconciliationService,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
ALWAYS = Span(START - timedelta(days=1), START + timedelta(days=1))
PRODUCER = "ai:07"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Records:
    """`ports.RecordReader` as far as sequences go."""

    def __init__(self) -> None:
        self.arrived: dict[str, list[tuple[int, datetime]]] = {}
        self.read = 0

    def arrive(self, producer: str, sequence: int, moment: datetime) -> None:
        bisect.insort(self.arrived.setdefault(producer, []), (sequence, moment))

    async def sequences(self, producer, after, limit):
        found = [pair for pair in self.arrived.get(producer, []) if pair[0] > after][:limit]
        self.read += len(found)
        return found


class States:
    """`ports.Producers`."""

    def __init__(self, *producers: str) -> None:
        self.states = {name: ProducerState(name, 0, None) for name in producers}
        self.saves = 0

    async def all(self):
        return list(self.states.values())

    async def save(self, state):
        if self.states[state.producer].version != state.version:
            return False
        self.states[state.producer] = replace(state, version=state.version + 1)
        self.saves += 1
        return True


class Figures:
    def __init__(self) -> None:
        self.values: list[dict[str, float]] = []

    async def put(self, values):
        self.values.append(dict(values))


class Sink:
    """The audit side: records, states, the scheduled run and the report."""

    def __init__(self, *producers: str) -> None:
        self.records = Records()
        self.states = States(*(producers or (PRODUCER,)))
        self.figures = Figures()
        self.now = START
        self.reconciler = Reconciler(self.records, self.states, self.figures, lambda: self.now)
        self.service = ReconciliationService(self.records, self.states)

    def arrive(self, *sequences: int, producer: str = PRODUCER, moment: float = 0) -> None:
        for sequence in sequences:
            self.records.arrive(producer, sequence, at(moment))

    def run(self) -> int:
        return asyncio.run(self.reconciler.run())

    def report(self, span: Span = ALWAYS):
        return asyncio.run(self.service.report(span))

    def missing(self, span: Span = ALWAYS) -> set[int]:
        (report,) = self.report(span)
        assert report.complete is (not report.gaps)
        return numbers(report.gaps)


def numbers(gaps: Iterable[Gap]) -> set[int]:
    named = [number for gap in gaps for number in range(gap.first, gap.last + 1)]
    assert len(named) == len(set(named)), "a number is named twice"
    return set(named)


@pytest.mark.parametrize("seed", range(150))
def test_exactly_the_missing_numbers_are_named_whatever_the_order(seed):
    chance = random.Random(seed)
    total = chance.randrange(1, 120)
    lost = {n for n in range(1, total + 1) if chance.random() < chance.choice([0.02, 0.2, 0.7])}
    arriving = [n for n in range(1, total + 1) if n not in lost]
    # Reports overtake each other, some by far; some arrive twice.
    arriving.sort(key=lambda n: n + chance.uniform(0, chance.choice([1, 10, 200])))
    arriving += chance.sample(arriving, k=len(arriving) // 10)
    sink = Sink()
    seen: set[int] = set()
    for moment, sequence in enumerate(arriving):
        sink.arrive(sequence, moment=moment)
        seen.add(sequence)
        if chance.random() < 0.2:
            sink.run()
        if chance.random() < 0.2:
            assert sink.missing() == set(range(1, max(seen))) - seen
    for _ in range(2):
        assert sink.missing() == set(range(1, max(seen, default=1))) - seen
        sink.run()
    sink.now = at(len(arriving)) + GRACE
    assert sink.run() == len(sink.report()[0].gaps)


@pytest.mark.parametrize("seed", range(20))
def test_runs_at_the_same_time_lose_nothing(seed):
    chance = random.Random(seed)
    sink = Sink()
    rival = Reconciler(sink.records, sink.states, sink.figures, lambda: sink.now)
    for sequence in chance.sample(range(1, 60), k=40):
        sink.arrive(sequence)

        async def both() -> None:
            await asyncio.gather(rival.run(), sink.reconciler.run())

        asyncio.run(both())
    arrived = {sequence for sequence, _ in sink.records.arrived[PRODUCER]}
    assert sink.missing() == set(range(1, max(arrived))) - arrived


def test_a_late_arrival_closes_its_gap():
    sink = Sink()
    sink.arrive(1, 2, 4)
    sink.run()
    assert sink.missing() == {3}
    sink.arrive(3, moment=60)
    assert sink.missing() == set(), "the report sees what came since the last run"
    sink.run()
    assert sink.states.states[PRODUCER].gaps == ()


def test_only_gaps_older_than_the_grace_period_count():
    sink = Sink()
    sink.arrive(1, moment=0)
    sink.arrive(3, moment=10)
    sink.now = at(10) + GRACE - timedelta(seconds=1)
    assert sink.run() == 0
    sink.now = at(10) + GRACE
    assert sink.run() == 1
    assert sink.figures.values == [{"Gaps": 0.0}, {"Gaps": 1.0}]


def test_a_missing_beginning_is_a_gap_without_a_report_before_it():
    sink = Sink()
    sink.arrive(4, moment=30)
    (report,) = sink.report()
    assert report.gaps == (Gap(PRODUCER, 1, 3, None, at(30)),)
    assert (report.through, report.through_at) == (4, at(30))


@pytest.mark.parametrize(
    ("start", "end", "named"),
    [(0, 5, set()), (0, 11, {2}), (15, 16, {2}), (20, 21, {2}), (21, 30, set())],
)
def test_a_gap_belongs_to_the_ranges_that_its_window_touches(start, end, named):
    sink = Sink()
    sink.arrive(1, moment=10)
    sink.arrive(3, moment=20)
    assert sink.missing(Span(at(start), at(end))) == named


def test_the_window_is_ordered_though_the_neighbours_were_not():
    sink = Sink()
    sink.arrive(1, moment=40)
    sink.arrive(3, moment=20)
    ((gap,),) = [report.gaps for report in sink.report()]
    assert (gap.after, gap.before) == (at(20), at(40))


def test_what_is_left_below_an_arrival_has_the_window_of_its_neighbours():
    sink = Sink()
    sink.arrive(1, moment=0)
    sink.arrive(9, moment=10)
    sink.run()
    sink.arrive(4, 5, moment=500)
    sink.run()
    assert sink.states.states[PRODUCER].gaps == (
        Gap(PRODUCER, 2, 3, at(0), at(500)),
        Gap(PRODUCER, 6, 8, at(0), at(10)),
    )


@pytest.mark.parametrize("runs", [False, True], ids=["at once", "with runs in between"])
def test_a_leap_does_not_hide_what_is_lost_later(runs):
    sink = Sink()
    leap = 2**53 - 1
    arriving = [(1, 0), (2, 10), (leap, 20), (3, 100), (5, 200), (6, 300), (8, 400)]
    for sequence, moment in arriving:
        sink.arrive(sequence, moment=moment)
        if runs:
            sink.run()
    (report,) = sink.report()
    *lost, rest = report.gaps
    assert lost == [
        Gap(PRODUCER, 4, 4, at(100), at(200)),
        Gap(PRODUCER, 7, 7, at(300), at(400)),
    ]
    assert (rest.first, rest.last) == (9, leap - 1)
    # Seen while it was new, it keeps the window that it had then.
    assert (rest.after, rest.before) == ((at(10), at(20)) if runs else (at(20), at(400)))
    for moment, number in ((150, 4), (350, 7)):
        (report_then,) = sink.report(Span(at(moment), at(moment + 10)))
        assert number in {gap.first for gap in report_then.gaps}
    sink.now = at(400) + GRACE
    assert sink.run() == len(report.gaps), "each of them is counted for the alarm"


def test_without_the_neighbour_below_the_gaps_own_window_counts():
    sink = Sink()
    sink.arrive(2, moment=0)
    sink.arrive(9, moment=10)
    sink.run()
    # Records end after 90 days; the state does not.
    sink.records.arrived[PRODUCER] = []
    sink.arrive(5, moment=500)
    (report,) = sink.report()
    assert Gap(PRODUCER, 3, 4, at(0), at(500)) in report.gaps


def test_a_number_that_comes_twice_is_no_gap():
    sink = Sink()
    sink.arrive(1, 2, 3, 2, 3)
    sink.run()
    sink.arrive(3, 4)
    assert sink.missing() == set()


def test_each_producer_is_told_of():
    sink = Sink("ai:01", "ai:00", "silent:00")
    sink.arrive(1, 2, producer="ai:00")
    sink.arrive(1, 3, producer="ai:01")
    told = [(report.producer, report.through, report.complete) for report in sink.report()]
    assert told == [("ai:00", 2, True), ("ai:01", 3, False), ("silent:00", 0, True)]


def test_a_run_reads_what_is_new_alone():
    sink = Sink()
    sink.arrive(*range(1, 501))
    sink.run()
    before, saves = sink.records.read, sink.states.saves
    sink.run()
    assert (sink.records.read, sink.states.saves) == (before, saves)
    sink.arrive(501, 502)
    sink.run()
    assert sink.records.read == before + 2


def test_a_state_does_not_grow_without_bound_and_the_report_stays_whole():
    sink = Sink()
    odd = range(1, 8 * MAX_GAPS, 2)
    sink.arrive(*odd)
    for _ in range(3):
        sink.run()
        assert len(sink.states.states[PRODUCER].gaps) < 2 * MAX_GAPS
    assert sink.missing() == set(range(1, odd[-1])) - set(odd)


def test_a_gap_larger_than_a_page_is_read_through():
    sink = Sink()
    sink.arrive(5_000)
    sink.run()
    sink.arrive(*(n for n in range(1, 5_000) if n != 3_210))
    assert sink.missing() == {3_210}
    sink.run()
    assert sink.missing() == {3_210}


async def _current(state: ProducerState, records: Records) -> ProducerState:
    return await Completeness(records).current(state)


def test_the_state_is_the_same_however_often_it_was_brought_up_to_date():
    chance = random.Random(5)
    records = Records()
    kept = ProducerState(PRODUCER, 0, None)
    for moment, sequence in enumerate(chance.sample(range(1, 300), k=200)):
        records.arrive(PRODUCER, sequence, at(moment))
        if moment % 17 == 0:
            kept = asyncio.run(_current(kept, records))
    kept = asyncio.run(_current(kept, records))
    anew = asyncio.run(_current(ProducerState(PRODUCER, 0, None), records))
    assert numbers(kept.gaps) == numbers(anew.gaps)
    assert kept.through == anew.through
