"""Rows of the archive, their packing to the byte, and what becomes of refusals."""

import base64
import json
import logging
from datetime import timedelta

import pytest

from functions.audit.domain.archive import (
    COLUMNS,
    MAX_DELIVERY_BYTES,
    Archiver,
    Insertion,
    pack,
    row,
)
from functions.audit.domain.errors import ArchiveUnavailableError
from functions.audit.routes.stream import inserted
from tests.fakes.audit_log import MemoryMetrics
from tests.fakes.audit_reading import NOW, entry

pytestmark = pytest.mark.anyio


class RefusingArchive:
    """Refuses deliveries by a script: positions for each call, the last for ever."""

    def __init__(self, *script: list[int]) -> None:
        self.script = list(script)
        self.calls: list[list[bytes]] = []
        self.taken: list[bytes] = []

    async def put(self, rows):
        self.calls.append(list(rows))
        refused = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        refused = [n for n in refused if n < len(rows)]
        self.taken += [data for n, data in enumerate(rows) if n not in refused]
        return refused


class Pauses(list):
    async def __call__(self, seconds):
        self.append(seconds)


def put(*records: bytes | None) -> list[Insertion]:
    return [Insertion(f"EVENT#i{n}", record) for n, record in enumerate(records)]


def test_a_row_holds_what_is_searched_and_the_bytes_themselves():
    stored = entry(
        "e1", NOW, user_id=3, severity="high", sequence=9, producer="ai", request_id="r-1"
    )
    line = row(stored.record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    content = json.loads(line)
    assert content.pop("record").encode() == stored.record
    assert content == {
        "event_id": "e1",
        "timestamp": "2026-11-22T12:00:00.000000Z",
        "event_type": "user_action",
        "user_id": 3,
        "resource": "project/7",
        "action": "update",
        "request_id": "r-1",
        "severity": "high",
        "producer": "ai",
        "sequence": 9,
    }
    assert set(content) < set(COLUMNS)


def test_a_record_of_the_largest_size_fits_into_a_delivery_even_where_all_is_escaped():
    stored = entry("e1", NOW, metadata={"note": '"' * 29_800})
    assert len(stored.record) > 59_000
    assert len(row(stored.record)) < MAX_DELIVERY_BYTES / 5


@pytest.mark.parametrize(
    ("sizes", "packed"),
    [
        ([], []),
        ([10], [10]),
        ([4, 6], [10]),
        ([4, 6, 1], [10, 1]),
        ([10, 10], [10, 10]),
        ([5, 6], [5, 6]),
        ([1] * 25, [10, 10, 5]),
    ],
)
def test_packing_fills_to_the_byte(sizes, packed):
    rows = [b"x" * (size - 1) + b"\n" for size in sizes]
    deliveries = list(pack(rows, limit=10))
    assert [len(delivery) for delivery in deliveries] == packed
    assert b"".join(deliveries) == b"".join(rows)


def test_the_limit_is_firehoses():
    rows = [b"x" * 512_000, b"x" * 512_000, b"x"]
    assert [len(delivery) for delivery in pack(rows)] == [1_024_000, 1]


def test_a_row_that_fits_nowhere_is_an_error():
    with pytest.raises(ValueError, match="exceeds"):
        list(pack([b"x" * 11], limit=10))


async def test_what_is_refused_is_tried_again_and_nothing_else_is():
    pauses = Pauses()
    archive = RefusingArchive([0, 2], [1], [])
    metrics = MemoryMetrics()
    records = [entry(f"e{n}", NOW, metadata={"n": "y" * 40_000}).record for n in range(80)]
    sent = await Archiver(archive, metrics, pauses).archive(put(*records))
    assert sent == 4
    assert [len(call) for call in archive.calls] == [4, 2, 1]
    assert archive.calls[1] == [archive.calls[0][0], archive.calls[0][2]]
    assert sorted(archive.taken) == sorted(archive.calls[0])
    assert len(pauses) == 2
    assert all(pause >= 0 for pause in pauses)
    assert metrics.values == []


async def test_what_is_refused_for_good_fails_the_batch():
    archive = RefusingArchive([0])
    with pytest.raises(ArchiveUnavailableError):
        await Archiver(archive, MemoryMetrics(), Pauses()).archive(put(entry("e1", NOW).record))
    assert len(archive.calls) == 5


async def test_nothing_to_archive_calls_nobody():
    archive = RefusingArchive([])
    assert await Archiver(archive, MemoryMetrics(), Pauses()).archive([]) == 0
    assert archive.calls == []


def _change(kind: str, **images: dict) -> dict:
    return {
        "eventName": kind,
        "dynamodb": {"Keys": {"pk": {"S": "EVENT#e1"}, "sk": {"S": "EVENT"}}, **images},
    }


def _image(record: bytes) -> dict:
    return {"record": {"B": base64.b64encode(record).decode()}}


def test_only_insertions_are_archived():
    first, second = (entry(f"e{n}", NOW + timedelta(seconds=n)).record for n in range(2))
    event = {
        "Records": [
            _change("INSERT", NewImage=_image(first)),
            _change("MODIFY", OldImage=_image(first), NewImage=_image(second)),
            _change("REMOVE", OldImage=_image(first)),
            _change("INSERT", NewImage=_image(second)),
        ]
    }
    assert inserted(event) == [Insertion("EVENT#e1", first), Insertion("EVENT#e1", second)]


@pytest.mark.parametrize("image", [{"other": {"S": "x"}}, {"record": {"S": "{}"}}])
def test_an_item_without_a_record_is_told_apart(image):
    event = {"Records": [_change("INSERT", NewImage=image)]}
    assert inserted(event) == [Insertion("EVENT#e1", None)]


def _altered(**values) -> bytes:
    return json.dumps(json.loads(entry("e1", NOW).record) | values).encode()


@pytest.mark.parametrize(
    "malformed",
    [
        None,
        b"",
        b"\xff\xfe",
        b"no json",
        b"[]",
        b"{}",
        b"[" * 100_000,
        '{"event_id":"e1"}'.encode("utf-16"),
        _altered(event_id=1),
        _altered(user_id="3"),
        _altered(user_id=True),
        _altered(user_id=2**63),
        _altered(sequence=1.5),
        _altered(action="\ud800"),
        _altered(action='"' * 180_000),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_what_is_no_record_is_left_out_and_counted(malformed, caplog):
    archive, metrics = RefusingArchive([]), MemoryMetrics()
    first, last = (entry(f"e{n}", NOW).record for n in range(2))
    with caplog.at_level(logging.ERROR):
        await Archiver(archive, metrics, Pauses()).archive(put(first, malformed, last))
    assert archive.taken == [row(first) + row(last)]
    assert metrics.values == [{"RecordsMalformed": 1.0}]
    (line,) = caplog.records
    assert (line.items, line.keys) == (1, ["EVENT#i1"])


async def test_what_is_told_of_malformed_items_is_bounded(caplog):
    metrics = MemoryMetrics()
    with caplog.at_level(logging.ERROR):
        await Archiver(RefusingArchive([]), metrics).archive(
            [Insertion(f"{n}{'x' * 2_000}", None) for n in range(1_000)]
        )
    (line,) = caplog.records
    assert line.items == 1_000
    assert [len(key) for key in line.keys] == [200] * 20
    assert metrics.values == [{"RecordsMalformed": 1000.0}]


async def test_a_metric_that_is_lost_fails_the_batch_after_the_records_are_archived():
    class Lost:
        async def put(self, values):
            raise OSError

    archive = RefusingArchive([])
    record = entry("e1", NOW).record
    with pytest.raises(OSError):
        await Archiver(archive, Lost(), Pauses()).archive(put(None, record))
    assert archive.taken == [row(record)]
