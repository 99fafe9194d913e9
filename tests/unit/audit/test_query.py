"""One query over table and archive."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from functions.audit.adapters.archive_files import ArchiveFiles, CacheLimits
from functions.audit.adapters.cold_function import ColdFunction
from functions.audit.adapters.duckdb_store import DuckdbStore
from functions.audit.domain.errors import (
    ArchiveUnavailableError,
    EventNotFoundError,
    InvalidRangeError,
    RangeTooWideError,
)
from functions.audit.domain.exports import ExportService
from functions.audit.domain.lookup import RecordLookup
from functions.audit.domain.merkle import leaf_hash
from functions.audit.domain.models import Export, Filter, Leaf
from functions.audit.domain.query import Query, QueryService
from functions.audit.domain.spans import Range
from servicekit.paging import InvalidCursorError, encode_cursor
from tests.fakes.archive_bucket import ArchiveBucket, Lambda, parquet
from tests.fakes.audit_log import MemoryLedger
from tests.fakes.audit_reading import (
    NOW,
    Clock,
    MemoryExports,
    MemoryFiles,
    MemoryQueue,
    MemoryRecords,
    NarrowArchive,
    PlainOpener,
    entry,
)

pytestmark = pytest.mark.anyio

HOT_DAYS = 90
BOUNDARY = NOW - timedelta(days=HOT_DAYS - 1)
ALL = Query(Filter(), Range(start=NOW - timedelta(days=400)))


class Sink:
    """The query service over a table of 90 days and an archive that has everything."""

    def __init__(self, entries=(), *, archive_days=500) -> None:
        self.clock = Clock()
        kept = self.clock.now - timedelta(days=HOT_DAYS)
        self.hot = MemoryRecords(e for e in entries if e.accepted_at >= kept)
        self.cold = NarrowArchive(entries, archive_days)
        self.ledger = MemoryLedger()
        self.exports, self.queue = MemoryExports(), MemoryQueue()
        service = ExportService(self.exports, MemoryFiles(), self.queue, self.clock)
        self.queries = QueryService(
            self.hot,
            self.cold,
            service,
            RecordLookup(self.hot, self.cold, self.ledger),
            PlainOpener(),
            self.clock,
            HOT_DAYS,
        )

    async def all_ids(self, query=ALL, limit=3, between=lambda: None):
        seen, cursor = [], None
        for _ in range(100):
            page = await self.queries.find(query, limit, cursor, "role")
            assert len(page.events) <= limit
            seen += [event["event_id"] for event in page.events]
            cursor = page.next_cursor
            if cursor is None:
                return seen
            between()
        raise AssertionError("no end")


def days_back(*days: float):
    return [entry(f"e{n:03}", NOW - timedelta(days=day)) for n, day in enumerate(days)]


async def test_one_cursor_goes_from_the_table_into_the_archive_without_loss_or_repetition():
    entries = days_back(0, 1, 50, 88.9, 89, 89.1, 89.9, 90.1, 200, 399)
    sink = Sink(entries)
    assert await sink.all_ids() == [e.event_id for e in entries]
    assert all(span.start >= BOUNDARY for span in sink.hot.asked)
    assert all(span.end <= BOUNDARY for span in sink.cold.asked)


async def test_the_border_may_move_while_a_caller_pages():
    entries = days_back(*(n / 2 for n in range(300)))
    sink = Sink(entries)
    seen = await sink.all_ids(limit=20, between=lambda: sink.clock.move(hours=1))
    assert seen == [e.event_id for e in entries]


async def test_recent_ranges_never_ask_the_archive():
    sink = Sink(days_back(1, 29.9, 30.1, 200))
    assert await sink.all_ids(Query(Filter(), Range())) == ["e000", "e001"]
    assert sink.cold.asked == []


async def test_old_ranges_never_ask_the_table():
    sink = Sink(days_back(1, 100, 200))
    span = Range(NOW - timedelta(days=250), NOW - timedelta(days=95))
    assert await sink.all_ids(Query(Filter(), span)) == ["e001", "e002"]
    assert sink.hot.asked == []


async def test_what_the_table_has_is_not_kept_waiting_for_the_archive():
    sink = Sink(days_back(1, 2, 200))
    sink.cold.failure = ArchiveUnavailableError()
    page = await sink.queries.find(ALL, 50, None, "role")
    assert [event["event_id"] for event in page.events] == ["e000", "e001"]
    with pytest.raises(ArchiveUnavailableError):
        await sink.queries.find(ALL, 50, page.next_cursor, "role")


async def test_an_empty_table_part_goes_on_to_the_archive_in_the_same_call():
    sink = Sink(days_back(200))
    page = await sink.queries.find(ALL, 50, None, "role")
    assert [event["event_id"] for event in page.events] == ["e000"]
    assert page.next_cursor is None


async def test_pages_of_the_table_may_be_short():
    sink = Sink(days_back(*range(1, 20)))
    sink.hot.largest_page = 2
    assert len(await sink.all_ids(limit=5)) == 19


async def test_filters_reach_both_stores():
    entries = [
        entry("hot", NOW - timedelta(days=1), user_id=3),
        entry("other", NOW - timedelta(days=2), user_id=4),
        entry("cold", NOW - timedelta(days=200), user_id=3),
    ]
    query = replace(ALL, filter=Filter(user_id=3))
    assert await Sink(entries).all_ids(query) == ["hot", "cold"]


async def test_records_of_a_clock_a_little_ahead_are_seen_at_once():
    sink = Sink([entry("e1", NOW + timedelta(seconds=1))])
    assert await sink.all_ids() == ["e1"]
    assert len(await sink.queries.recent(10)) == 1


@pytest.mark.parametrize(
    "asked",
    [
        Range(NOW, NOW),
        Range(NOW, NOW - timedelta(days=1)),
        Range(NOW + timedelta(days=1), None),
        Range(NOW + timedelta(days=1), NOW + timedelta(days=2)),
        Range(None, datetime(1, 1, 1, tzinfo=UTC)),
        Range(datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC)),
    ],
)
async def test_ranges_that_hold_nothing(asked):
    with pytest.raises(InvalidRangeError):
        await Sink().queries.find(Query(Filter(), asked), 10, None, "role")


async def test_ranges_without_measure_are_cut_to_what_can_be():
    sink = Sink(days_back(1, 200))
    ends = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
    sink.cold.days = 20_000
    assert await sink.all_ids(Query(Filter(), Range(*ends))) == ["e000", "e001"]


async def test_a_cursor_belongs_to_its_query():
    sink = Sink(days_back(1, 2, 3))
    page = await sink.queries.find(ALL, 1, None, "role")
    for other in (
        replace(ALL, filter=Filter(user_id=1)),
        replace(ALL, range=Range(ALL.range.start, NOW)),
        Query(Filter(), Range()),
    ):
        with pytest.raises(InvalidCursorError):
            await sink.queries.find(other, 1, page.next_cursor, "role")
    assert (await sink.queries.find(ALL, 7, page.next_cursor, "role")).events


@pytest.mark.parametrize(
    "place",
    [
        "",
        "1,2,3",
        "x,2,3,e1",
        "2,1,1,e1",
        "1,1,1,e1",
        f"{10**30},{10**31},{10**30},e1",
        "-9,9,9,e1",
        "1700000000000000,1700000000000002,1800000000000000,e1",
        "1700000000000000,300000000000000000,1800000000000000,e1",
        "1700000000000000,32503680000000000,1700000000000000,e1",
        "1700000000000000,1780000000000000,1750000000000000,\x00",
        "1700000000000000,1780000000000000,1750000000000000,\ue000",
        "1700000000000000,1780000000000000,1750000000000000,\ud800",
        "1700000000000000,1780000000000000,1750000000000000,e1\n",
        f"1700000000000000,1780000000000000,1750000000000000,{'x' * 129}",
        f"1700000000000000,1780000000000000,1750000000000000,{'x' * 1_100}",
    ],
)
async def test_a_cursor_that_somebody_made_up(place):
    with pytest.raises(InvalidCursorError):
        await Sink().queries.find(ALL, 1, encode_cursor(place, ALL.text), "role")


@pytest.mark.parametrize("event_id", ["", "e1", "a,b", "x" * 128])
async def test_a_cursor_holds_any_id_that_an_event_may_have(event_id):
    place = f"1700000000000000,1780000000000000,1750000000000000,{event_id}"
    page = await Sink(archive_days=9_000).queries.find(
        ALL, 1, encode_cursor(place, ALL.text), "role"
    )
    assert (page.events, page.next_cursor) == ([], None)


async def test_too_much_for_a_page_becomes_an_export_and_the_same_one_again():
    sink = Sink(days_back(200), archive_days=100)
    first = await sink.queries.find(ALL, 10, None, "role")
    assert isinstance(first, Export)
    assert first.status == "queued"
    assert (first.span.start, first.span.end) == (ALL.range.start, NOW)
    assert (await sink.queries.find(ALL, 50, None, "role")).export_id == first.export_id
    assert (await sink.queries.find(ALL, 50, None, "other")).export_id != first.export_id
    assert set(sink.queue.sent) == set(sink.exports.stored)


async def test_an_export_in_place_of_a_later_page_covers_the_whole_query():
    sink = Sink(days_back(1, 2, 200), archive_days=100)
    page = await sink.queries.find(ALL, 10, None, "role")
    export = await sink.queries.find(ALL, 10, page.next_cursor, "role")
    assert export.span.start == ALL.range.start
    assert export.span.end == NOW


async def test_an_empty_page_of_the_archive_is_no_end(tmp_path):
    bucket = ArchiveBucket()
    for n in range(40):
        day = NOW - timedelta(days=100 + n)
        record = entry(f"e{n:02}", day, user_id=4 if n == 39 else 3).record
        bucket.objects[f"events/day={day:%Y-%m-%d}/o.parquet"] = parquet([record], tmp_path)
    limits = CacheLimits(range_objects=10)
    files = ArchiveFiles("archive", tmp_path / "cache", limits, lambda: bucket)
    sink = Sink()
    sink.queries._cold = ColdFunction(
        "cold", lambda: Lambda(DuckdbStore(files, tmp_path / "cache"))
    )
    span = Range(NOW - timedelta(days=140), NOW - timedelta(days=95))
    query = Query(Filter(user_id=4), span)
    assert await sink.all_ids(query) == ["e39"]
    first = await sink.queries.find(query, 10, None, "role")
    assert first.events == []
    assert first.next_cursor
    assert sink.exports.stored == {}


async def test_a_page_is_cut_to_what_an_answer_carries():
    entries = [
        entry(f"e{n:03}", NOW - timedelta(seconds=n), metadata={"note": '"' * 29_000})
        for n in range(100)
    ]
    sink = Sink(entries)
    page = await sink.queries.find(ALL, 100, None, "role")
    assert 1 < len(page.events) < 100
    assert await sink.all_ids(limit=100) == [e.event_id for e in entries]


async def test_recent_events_are_the_newest_of_the_table():
    entries = days_back(*range(1, 30))
    sink = Sink(entries)
    sink.hot.largest_page = 3
    recent = await sink.queries.recent(10)
    assert [event["event_id"] for event in recent] == [e.event_id for e in entries[:10]]
    assert sink.cold.asked == []


async def test_an_event_by_its_id():
    sink = Sink(days_back(1))
    assert (await sink.queries.get("e000"))["event_id"] == "e000"
    with pytest.raises(EventNotFoundError):
        await sink.queries.get("e999")
    assert sink.cold.asked == []


async def sealed(sink, *entries):
    """Their places in the log, as the sealer notes them."""
    leaves = [
        Leaf(n, e.event_id, leaf_hash(e.record), e.accepted_at) for n, e in enumerate(entries)
    ]
    await sink.ledger.settle(leaves, [])


async def test_an_event_that_has_left_the_table_is_found_where_its_place_says():
    old = entry("own-id", NOW - timedelta(days=200))
    sink = Sink([old])
    with pytest.raises(EventNotFoundError):
        await sink.queries.get("own-id")
    assert sink.cold.asked == []
    await sealed(sink, old)
    assert (await sink.queries.get("own-id"))["event_id"] == "own-id"
    (span,) = sink.cold.asked
    assert (span.start, span.end - span.start) == (old.accepted_at, timedelta(microseconds=1))


async def test_of_an_id_that_was_used_again_the_newest_event_is_found():
    first = entry("again", NOW - timedelta(days=300), action="first")
    second = entry("again", NOW - timedelta(days=150), action="second")
    sink = Sink([first, second])
    await sealed(sink, first, second)
    assert (await sink.queries.get("again"))["action"] == "second"


async def test_a_crowded_day_is_no_reason_to_say_that_there_is_no_such_event():
    old = entry("own-id", NOW - timedelta(days=200))
    sink = Sink([old])
    await sealed(sink, old)
    sink.cold.failure = RangeTooWideError()
    with pytest.raises(ArchiveUnavailableError):
        await sink.queries.get("own-id")
