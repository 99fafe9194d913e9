"""Records that are an hour old and not in the log are counted, whether they are pending or not."""

import logging
from datetime import timedelta

import pytest

from functions.audit.domain import unsealed
from functions.audit.domain.merkle import leaf_hash
from functions.audit.domain.models import Entry, Leaf, Marker
from functions.audit.domain.unsealed import UnsealedSearch
from tests.fakes.audit_log import LedgerState, MemoryLedger, MemoryMetrics
from tests.fakes.audit_reading import NOW, MemoryRecords, entry

pytestmark = pytest.mark.anyio


class Sink:
    """Records, what the ledger says of them, and the search over both."""

    def __init__(self) -> None:
        self.records = MemoryRecords()
        self.state = LedgerState()
        self.metrics = MemoryMetrics()

    def put(self, event_id: str, minutes: float, **fields) -> Entry:
        stored = entry(event_id, NOW - timedelta(minutes=minutes), **fields)
        self.records.entries.append(stored)
        return stored

    def seal(self, stored: Entry) -> None:
        leaf = Leaf(0, stored.event_id, leaf_hash(stored.record), stored.accepted_at)
        self.state.leaves[leaf.event_id, leaf.leaf_hash] = leaf

    def mark(self, stored: Entry) -> None:
        digest = leaf_hash(stored.record)
        self.state.put(Marker(stored.event_id, stored.accepted_at, digest, stored.terms))

    async def run(self) -> int:
        ledger = MemoryLedger(self.state)
        return await UnsealedSearch(self.records, ledger, self.metrics, lambda: NOW).run()


async def test_sealed_records_count_nothing(caplog):
    sink = Sink()
    for number in range(250):
        sink.seal(sink.put(f"e{number}", 60 + (number + 1) / 30))
    assert await sink.run() == 0
    assert sink.metrics.values == [{"UnsealedRecords": 0.0}]
    assert caplog.records == []


async def test_a_record_without_a_marker_is_counted_and_named(caplog):
    sink = Sink()
    sink.seal(sink.put("sealed", 61))
    sink.put("lost", 65)
    with caplog.at_level(logging.ERROR):
        assert await sink.run() == 1
    assert sink.metrics.values == [{"UnsealedRecords": 1.0}]
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


async def test_only_the_window_is_looked_at():
    sink = Sink()
    for minutes in (0, 30, 60, 70.1):
        sink.put(f"out{minutes}", minutes)
    assert await sink.run() == 0
    for minutes in (60.1, 70):
        sink.put(f"in{minutes}", minutes)
    assert await sink.run() == 2


async def test_few_are_named_of_many(caplog):
    sink = Sink()
    for number in range(150):
        sink.put(f"e{number:03}", 65)
    with caplog.at_level(logging.ERROR):
        assert await sink.run() == 150
    (line,) = caplog.records
    assert (line.records, len(line.event_ids)) == (150, 20)


async def test_a_search_that_does_not_come_to_its_end_says_so(caplog, monkeypatch):
    monkeypatch.setattr(unsealed, "MAX_PAGES", 2)
    sink = Sink()
    for number in range(201):
        sink.seal(sink.put(f"e{number:03}", 65))
    with caplog.at_level(logging.ERROR):
        assert await sink.run() == 0
    (line,) = caplog.records
    assert line.message == "more records than a search looks at"
