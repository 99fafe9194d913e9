"""The audit sink's tables over moto: what is stored, found, pending, sealed."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from functions.audit.adapters import index, keys, records
from functions.audit.adapters.exports import DynamoExports
from functions.audit.adapters.ledger import DynamoLedger
from functions.audit.adapters.markers import marker_item
from functions.audit.adapters.producers import DynamoProducers
from functions.audit.adapters.records import DynamoRecordReader, DynamoRecordWriter
from functions.audit.adapters.search_state import DynamoSearchState
from functions.audit.domain import unsealed
from functions.audit.domain.errors import ExportConflictError
from functions.audit.domain.merkle import leaf_hash
from functions.audit.domain.models import (
    Entry,
    Export,
    Filter,
    Gap,
    Head,
    Leaf,
    Position,
    ProducerState,
    Searched,
    Span,
    Terms,
)
from functions.audit.domain.unsealed import UnsealedSearch
from servicekit.dynamodb import DynamoTable, Page
from servicekit.errors import StoreUnavailableError
from servicekit.paging import InvalidCursorError
from tests.fakes.audit_log import MemoryMetrics

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
RECORDS = "santaclaude-local-audit-records"
LEDGER = "santaclaude-local-audit-ledger"
ALL = Filter()
EVER = Span(NOW - timedelta(days=60), NOW + timedelta(days=1))


class Queries:
    """Counts what is asked of DynamoDB, and what it read for that."""

    def __init__(self, client) -> None:
        self.calls: list[str] = []
        self.items_read = 0
        self._client = client

    def __getattr__(self, operation):
        call = getattr(self._client, operation)

        def counted(**arguments):
            self.calls.append(operation)
            answer = call(**arguments)
            if operation == "query":
                self.items_read += answer["ScannedCount"]
            return answer

        return counted


@pytest.fixture
def make_tables(make_client):
    client = make_client()
    for name, indexes in ((RECORDS, len(keys.INDEXES)), (LEDGER, 1)):
        attributes = ["pk", "sk"]
        for number in range(1, indexes + 1):
            attributes += [f"gsi{number}pk", f"gsi{number}sk"]
        client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": a, "AttributeType": "S"} for a in attributes],
            KeySchema=_schema("pk", "sk"),
            GlobalSecondaryIndexes=[
                {
                    "IndexName": f"gsi{number}",
                    "KeySchema": _schema(f"gsi{number}pk", f"gsi{number}sk"),
                    "Projection": {"ProjectionType": "ALL"},
                }
                for number in range(1, indexes + 1)
            ],
        )
    return make_client


def _schema(partition, sort):
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


class Sink:
    """Writer, reader and ledger over the same tables."""

    def __init__(self, make) -> None:
        self.queries = Queries(make())
        self.records = DynamoTable(RECORDS, lambda: self.queries)
        self.table = DynamoTable(LEDGER, lambda: self.queries)
        self.now = NOW
        self.producers = DynamoProducers(self.table)
        self.writer = DynamoRecordWriter(self.records, self.table, self.producers, hot_days=90)
        self.reader = DynamoRecordReader(self.records, self.table, lambda: self.now)
        self.ledger = DynamoLedger(self.table)
        self.exports = DynamoExports(self.table)

    async def seal_all(self) -> None:
        """Takes every marker away, as the sealer does in the end."""
        markers = await self.ledger.pending(self.now + timedelta(days=2), 10_000)
        await self.ledger.settle([], markers)

    async def found(self, wanted=ALL, span=EVER, before=None, limit=100) -> list[str]:
        page = await self.reader.find(wanted, span, before, limit)
        return [item.position.event_id for item in page.items]

    async def walk(self, wanted=ALL, span=EVER, limit=7) -> list[str]:
        seen, before = [], None
        while True:
            page = await self.reader.find(wanted, span, before, limit)
            assert len(page.items) <= limit
            seen += [item.position.event_id for item in page.items]
            before = page.next_before
            if before is None:
                return seen


@pytest.fixture
def sink(make_tables):
    sink = Sink(make_tables)
    yield sink
    sink.records.close()
    sink.table.close()


def entry(number: int, ago: timedelta = timedelta(0), **fields) -> Entry:
    terms = {"event_type": "user_action", "resource": f"project/{number}", "action": "read"}
    producer = fields.pop("producer", None)
    record = fields.pop("record", b'{"n":%d}' % number)
    return Entry(
        event_id=f"e-{number:05}",
        accepted_at=NOW - ago,
        record=record,
        fingerprint=f"f{number}",
        terms=Terms(**(terms | fields)),
        producer=producer,
        sequence=number if producer else None,
    )


async def test_a_record_is_there_at_once_and_whole(sink):
    stored = entry(1, user_id=7, request_id="r", session_id="s", severity="high", producer="p/1")
    (outcome,) = await sink.writer.append([stored])
    assert outcome.created
    assert await sink.reader.get("e-00001") == stored
    assert await sink.reader.get("e-2") is None


async def test_a_hundred_take_two_transactions(sink):
    outcomes = await sink.writer.append([entry(n) for n in range(100)])
    assert all(outcome.created for outcome in outcomes)
    assert sink.queries.calls == ["transact_write_items"] * 2


async def test_large_records_are_spread_over_transactions(sink):
    await sink.writer.append([entry(n, record=b"x" * 60_000) for n in range(60)])
    assert len(sink.queries.calls) == 2
    assert len(await sink.found(limit=60)) == 60


async def test_repetitions_are_answered_with_what_is_stored_and_stop_nothing_else(sink):
    first = entry(1)
    await sink.writer.append([first])
    again = entry(1, timedelta(seconds=-5), record=b"other")
    outcomes = await sink.writer.append([entry(0), again, entry(2)])
    assert [outcome.created for outcome in outcomes] == [True, False, True]
    assert outcomes[1].entry == first
    assert await sink.ledger.count_pending() == 3


async def test_what_fails_is_told_by_entry(sink):
    def fail(**_arguments):
        from botocore.exceptions import EndpointConnectionError

        raise EndpointConnectionError(endpoint_url="x")

    sink.queries.transact_write_items = fail
    outcomes = await sink.writer.append([entry(1), entry(2)])
    assert all(isinstance(outcome, StoreUnavailableError) for outcome in outcomes)


FILTERS = [
    ALL,
    Filter(event_type="security_event"),
    Filter(user_id=3),
    Filter(resource="project/3/card/1"),
    Filter(resource_prefix="project/3/"),
    Filter(resource_prefix="proj"),
    Filter(action="delete"),
    Filter(request_id="req-5"),
    Filter(session_id="ses-2"),
    Filter(severity="critical"),
    Filter(user_id=3, action="delete", resource_prefix="project/"),
    Filter(event_type="security_event", severity="low"),
]


async def test_every_filter_finds_what_it_matches_newest_first(sink):
    chance = random.Random(5)
    entries = [
        entry(
            n,
            timedelta(seconds=chance.randrange(30 * 86400)),
            event_type=chance.choice(["user_action", "security_event"]),
            user_id=chance.choice([None, 3, 4]),
            resource=f"project/{chance.randrange(5)}/card/{chance.randrange(3)}",
            action=chance.choice(["read", "delete"]),
            request_id=f"req-{chance.randrange(9)}",
            session_id=f"ses-{chance.randrange(4)}",
            severity=chance.choice([None, "low", "critical"]),
        )
        for n in range(100)
    ]
    await sink.writer.append(entries)
    by_time = sorted(entries, key=lambda e: (e.accepted_at, e.event_id), reverse=True)
    for wanted in FILTERS:
        expected = [e.event_id for e in by_time if wanted.matches(e.terms)]
        assert expected
        assert await sink.walk(wanted, limit=30) == expected, wanted


async def test_a_span_begins_with_its_start_and_stops_before_its_end(sink):
    await sink.writer.append([entry(n, timedelta(minutes=n)) for n in range(5)])
    span = Span(NOW - timedelta(minutes=3), NOW - timedelta(minutes=1))
    assert await sink.found(span=span) == ["e-00002", "e-00003"]
    assert await sink.found(Filter(action="read"), span=span) == ["e-00002", "e-00003"]
    assert await sink.found(Filter(resource="project/3"), span=span) == ["e-00003"]
    assert await sink.found(span=Span(NOW, NOW)) == []


async def test_records_of_one_moment_are_paged_by_their_ids(sink):
    await sink.writer.append([entry(n) for n in range(30)])
    assert await sink.walk(limit=4) == [f"e-{n:05}" for n in reversed(range(30))]


async def test_what_indexes_do_not_show_yet_is_found_by_its_marker(sink):
    await sink.writer.append([entry(n, timedelta(seconds=n)) for n in range(20)])

    async def behind(*_arguments):
        return index.IndexPage([], None)

    sink.reader._index.find = behind
    fresh = await sink.found()
    assert fresh == [f"e-{n:05}" for n in range(records.FRESH_SECONDS + 1)]
    assert await sink.found(Filter(resource="project/2")) == ["e-00002"]
    assert await sink.found(span=Span(EVER.start, NOW - timedelta(seconds=2))) == ["e-00003"]
    assert await sink.found(before=Position(NOW - timedelta(seconds=2), "")) == ["e-00003"]


async def test_as_many_are_read_as_are_answered_however_many_there_are(sink):
    entries = [
        entry(n, timedelta(seconds=n), user_id=n % 3, event_type=f"t{n % 2}") for n in range(900)
    ]
    # moto copies every table for each transaction.
    await sink.records.write_batch(puts=[sink.writer.item(e) for e in entries])
    for wanted in (ALL, Filter(user_id=1), Filter(event_type="t1")):
        sink.queries.items_read = 0
        assert len(await sink.found(wanted, limit=50)) == 50
        assert sink.queries.items_read <= 50 + keys.SHARDS * index._LEAST_ITEMS + 50 // 2


async def test_a_quiet_log_is_searched_in_few_queries_and_says_where_it_came_to(sink):
    await sink.writer.append([entry(1, timedelta(days=55), severity="critical")])
    await sink.seal_all()
    sink.queries.calls.clear()
    wanted = Filter(severity="critical")
    first = await sink.reader.find(wanted, EVER, None, 10)
    assert first.items == []
    assert first.next_before is not None
    assert sink.queries.calls.count("query") <= index._MAX_QUERIES + 16 * keys.SHARDS
    assert await sink.walk(wanted) == ["e-00001"]


async def test_a_busy_moment_is_read_as_far_as_the_page_needs(sink):
    entries = [entry(n, timedelta(microseconds=n)) for n in range(400)]
    await sink.table.write_batch(puts=[marker_item(sink.writer.marker(e)) for e in entries])
    await sink.records.write_batch(puts=[sink.writer.item(e) for e in entries])
    sink.queries.items_read = 0
    assert await sink.found(limit=5) == [f"e-{n:05}" for n in range(5)]
    assert await sink.walk(limit=60) == [f"e-{n:05}" for n in range(400)]


async def test_what_little_passes_a_filter_is_asked_for_in_reads_that_dynamodb_takes(sink):
    limits = []

    class Barren:
        """An index of which nothing passes the filter, page after page."""

        async def query(self, condition, values, *, limit, **_arguments):
            limits.append(limit)
            place = keys.place(Position(NOW - timedelta(seconds=len(limits)), "e"))
            return Page([], {f"{kind}sk": place for kind in keys.INDEXES.values()})

    for wanted in (Filter(user_id=1, action="x"), Filter(event_type="t", severity="low")):
        limits.clear()
        page = await index.IndexReader(Barren()).find(wanted, EVER, None, 50)
        assert page.positions == []
        assert page.next_before is not None
        assert len(limits) <= index._MAX_QUERIES + keys.SHARDS * index._MOST_DAYS_AT_ONCE
        assert max(limits) <= index._MOST_ITEMS


async def test_a_page_stays_below_what_a_function_can_answer(sink):
    await sink.writer.append(
        [entry(n, timedelta(seconds=n), record=b"x" * 60_000) for n in range(80)]
    )
    page = await sink.reader.find(ALL, EVER, None, 100)
    assert sum(len(item.record) for item in page.items) <= records._PAGE_BYTES
    assert page.next_before == page.items[-1].position
    assert len(await sink.walk(limit=100)) == 80


async def test_an_item_that_is_no_record_hides_none(sink):
    await sink.writer.append([entry(1), entry(2)])
    forged = sink.writer.item(entry(3))
    del forged["fingerprint"]
    await sink.records.write_batch(puts=[forged])
    assert await sink.found() == ["e-00002", "e-00001"]


async def test_long_names_make_no_key_too_long(sink):
    long = "project/" + "é" * 1_500
    await sink.writer.append([entry(1, resource=long, action="a" * 1_500)])
    await sink.seal_all()
    assert await sink.found(Filter(resource=long)) == ["e-00001"]
    assert await sink.found(Filter(resource_prefix=long[:20])) == ["e-00001"]
    assert await sink.found(Filter(action="a" * 1_500)) == ["e-00001"]


async def test_a_producers_sequences_come_in_order(sink):
    assert await sink.producers.all() == []
    await sink.writer.append([entry(n, producer="ai/01") for n in (3, 1, 12)])
    assert [n for n, _ in await sink.reader.sequences("ai/01", 0, 10)] == [1, 3, 12]
    assert [n for n, _ in await sink.reader.sequences("ai/01", 1, 1)] == [3]
    assert [state.producer for state in await sink.producers.all()] == ["ai/01"]
    sink.queries.calls.clear()
    await sink.writer.append([entry(13, producer="ai/01")])
    assert sink.queries.calls == ["transact_write_items"]


async def test_markers_wait_until_they_are_settled(sink):
    assert await sink.ledger.oldest_pending() is None
    entries = [entry(n, timedelta(seconds=n)) for n in range(40)]
    await sink.writer.append(entries)
    pending = await sink.ledger.pending(NOW - timedelta(seconds=10), 1_000)
    assert [marker.event_id for marker in pending] == [f"e-{n:05}" for n in reversed(range(10, 40))]
    assert pending[0].leaf_hash == leaf_hash(entries[39].record)
    assert len(await sink.ledger.pending(NOW, 8)) <= len(keys.PENDING_SHARDS)
    assert await sink.ledger.oldest_pending() == NOW - timedelta(seconds=39)
    leaves = [
        Leaf(n, marker.event_id, marker.leaf_hash, marker.accepted_at)
        for n, marker in enumerate(pending)
    ]
    for _ in range(2):
        await sink.ledger.settle(leaves, pending)
    assert await sink.ledger.count_pending() == 10
    hashes = {n: leaf_hash(entries[n].record) for n in (1, 38)}
    assert await sink.ledger.leaves({"e-00038": hashes[38], "e-00001": hashes[1]}) == {
        "e-00038": leaves[1]
    }
    assert await sink.ledger.leaves({"e-00038": hashes[1]}) == {}
    assert await sink.ledger.history("e-00039") == [leaves[0]]
    assert await sink.ledger.history("e-00001") == []
    again = Leaf(99, "e-00039", bytes(32), NOW)
    await sink.ledger.settle([again], [])
    assert await sink.ledger.history("e-00039") == [leaves[0], again]
    for number, waits in ((5, True), (39, False)):
        position = Position(NOW - timedelta(seconds=number), f"e-{number:05}")
        assert await sink.ledger.is_pending(position) is waits


async def test_one_of_many_moves_the_head(sink):
    empty = await sink.ledger.head()
    assert (empty.size, empty.settled) == (0, True)
    heads = [Head(3, bytes(32), (bytes([n]) * 32,) * 2, NOW, 0, settled=False) for n in range(8)]
    won = await asyncio.gather(*(sink.ledger.advance(empty, head) for head in heads))
    assert sum(won) == 1
    head = await sink.ledger.head()
    assert head == heads[won.index(True)]
    assert not await sink.ledger.advance(empty, heads[0])
    settled = Head(3, head.root, head.frontier, NOW, 0, settled=True)
    assert await sink.ledger.advance(head, settled)
    assert not await sink.ledger.advance(head, settled)


def export(number: int, **fields) -> Export:
    return Export(
        export_id=f"x{number}",
        status="queued",
        span=Span(NOW - timedelta(days=1), NOW),
        filter=Filter(user_id=7),
        requested_by="reader",
        created_at=NOW + timedelta(seconds=number),
        updated_at=NOW,
        expires_at=NOW + timedelta(days=7),
        **fields,
    )


async def test_exports_are_made_once_listed_and_changed_by_one_at_a_time(sink):
    for number in range(3):
        assert await sink.exports.create(export(number)) == export(number)
    assert await sink.exports.create(export(1, error="other")) == export(1)
    first, position = await sink.exports.list(2, None)
    assert [e.export_id for e in first] == ["x2", "x1"]
    rest, end = await sink.exports.list(2, position)
    assert [e.export_id for e in rest] == ["x0"]
    assert end is None
    moved = await sink.exports.update(export(1, records=5))
    assert (moved.version, await sink.exports.get("x1")) == (2, moved)
    with pytest.raises(ExportConflictError):
        await sink.exports.update(export(1))
    with pytest.raises(InvalidCursorError):
        await sink.exports.list(2, "nonsense")


async def test_a_producers_state_is_changed_by_one_at_a_time(sink):
    await sink.producers.register("p")
    await sink.producers.register("p")
    (state,) = await sink.producers.all()
    gap = Gap("p", 2, 4, NOW, NOW + timedelta(seconds=1))
    wanted = ProducerState("p", 9, NOW, (gap, Gap("p", 1, 1, None, NOW)), state.version)
    assert await sink.producers.save(wanted)
    assert not await sink.producers.save(wanted)
    (stored,) = await sink.producers.all()
    assert (stored.through, stored.gaps, stored.version) == (9, wanted.gaps, 1)


async def test_how_far_the_search_came_is_moved_by_one_at_a_time(sink):
    state = DynamoSearchState(sink.table)
    assert await state.load() is None
    first = Searched(NOW - timedelta(days=1), NOW, Position(NOW, "e#1"), version=1)
    assert await state.save(first)
    assert not await state.save(first)
    assert await state.load() == first
    second = Searched(NOW, NOW, version=2)
    assert await state.save(second)
    assert not await state.save(Searched(NOW - timedelta(days=1), NOW, version=2))
    assert not await state.save(Searched(NOW, NOW, version=4))
    assert await state.load() == second


async def test_a_search_finds_each_record_outside_of_the_log_once(sink, monkeypatch):
    monkeypatch.setattr(unsealed, "PAGE", 20)
    metrics = MemoryMetrics()

    def search() -> UnsealedSearch:
        state = DynamoSearchState(sink.table)
        return UnsealedSearch(sink.reader, sink.ledger, state, metrics, 90, lambda: sink.now)

    # Some of one moment, which pages may cut; some of long ago, with quiet days between.
    entries = [entry(n, timedelta(minutes=70 + n // 15)) for n in range(100)]
    entries += [entry(100 + n, timedelta(days=40 * n + 5)) for n in range(3)]
    await sink.writer.append(entries)
    lost = {"e-00007", "e-00044", "e-00102"}
    markers = await sink.ledger.pending(sink.now, 1_000)
    sealed = [
        Leaf(n, marker.event_id, marker.leaf_hash, marker.accepted_at)
        for n, marker in enumerate(markers)
        if marker.event_id not in lost
    ]
    await sink.ledger.settle(sealed, [Position(m.accepted_at, m.event_id) for m in markers])
    assert await sink.ledger.count_pending() == 0

    assert await search().run() == len(lost)
    assert await search().run() == 0
    await sink.writer.append([entry(200, -timedelta(minutes=1))])
    sink.now += timedelta(days=2)
    assert await search().run() == 1
    told = [values["UnsealedRecords"] for values in metrics.values if "UnsealedRecords" in values]
    assert sum(told) == len(lost) + 1
    assert metrics.values[-1] == {"UnsearchedSeconds": 3600.0}
