"""Queries over real Parquet objects, and the messages between the two functions."""

import errno
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from functions.audit.adapters.archive_files import ArchiveFiles, CacheLimits
from functions.audit.adapters.cold_function import ColdFunction
from functions.audit.adapters.duckdb_store import DuckdbStore
from functions.audit.adapters.sealer_function import SealerFunction
from functions.audit.domain.errors import ArchiveUnavailableError, RangeTooWideError, SealingError
from functions.audit.domain.models import Filter, Found, FoundPage, Position, Span
from functions.audit.domain.pages import fitting
from functions.audit.domain.sealer_calls import FLUSH, export_event
from tests.fakes.archive_bucket import ArchiveBucket, Lambda, parquet
from tests.fakes.audit_reading import entry

pytestmark = pytest.mark.anyio

DAY = datetime(2026, 8, 10, tzinfo=UTC)
ONE_DAY = timedelta(days=1)
SPAN = Span(DAY, DAY + ONE_DAY)


class Archive:
    """A bucket, and DuckDB over it."""

    def __init__(self, folder, **limits) -> None:
        self.folder = folder
        self.bucket = ArchiveBucket()
        self.cache = folder / "cache"
        self.files = ArchiveFiles("archive", self.cache, CacheLimits(**limits), lambda: self.bucket)
        self.store = DuckdbStore(self.files, self.cache)

    def put(self, day, name, *entries):
        key = f"events/day={day:%Y-%m-%d}/{name}.parquet"
        self.bucket.objects[key] = parquet([e.record for e in entries], self.folder)
        return key

    async def ids(self, wanted=Filter(), span=SPAN, before=None, limit=100):  # noqa: B008
        page = await self.store.find(wanted, span, before, limit)
        return [found.position.event_id for found in page.items]


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path)


def _at(hours: float, event_id: str, **fields):
    return entry(event_id, DAY + timedelta(hours=hours), **fields)


async def test_records_come_back_byte_for_byte_newest_first(archive):
    entries = [_at(n, f"e{n}", metadata={"note": 'a"b\\c\n☃ 🙂', "n": n}) for n in range(5)]
    archive.put(DAY, "one", *entries[:3])
    archive.put(DAY, "two", *entries[3:])
    page = await archive.store.find(Filter(), SPAN, None, 100)
    assert [found.record for found in page.items] == [e.record for e in reversed(entries)]
    assert page.items[0].position == Position(entries[4].accepted_at, "e4")
    assert page.next_before is None


async def test_repeated_records_are_dropped_within_and_across_objects(archive):
    entries = [_at(n, f"e{n}") for n in range(4)]
    archive.put(DAY, "one", *entries, entries[0])
    archive.put(DAY + ONE_DAY, "two", *entries[2:])
    assert await archive.ids() == ["e3", "e2", "e1", "e0"]


async def test_pages_meet_each_record_once_however_often_it_is_repeated(archive):
    entries = [_at(n / 10, f"e{n:02}") for n in range(12)]
    for copy in range(7):
        archive.put(DAY, f"copy-{copy}", *entries)
    seen, before, pages = [], None, 0
    while True:
        page = await archive.store.find(Filter(), SPAN, before, 3)
        assert len(page.items) <= 3
        seen += [found.position.event_id for found in page.items]
        before, pages = page.next_before, pages + 1
        if before is None:
            break
    assert seen == [e.event_id for e in reversed(entries)]
    assert pages < 20


async def test_records_of_one_moment_page_by_id(archive):
    archive.put(DAY, "one", *(_at(1, f"e{n}") for n in range(5)))
    seen, before = [], None
    for _ in range(3):
        page = await archive.store.find(Filter(), SPAN, before, 2)
        seen += [found.position.event_id for found in page.items]
        before = page.next_before
    assert seen == ["e4", "e3", "e2", "e1", "e0"]
    assert before is None


async def test_a_day_is_read_with_one_day_either_side_and_no_more(archive):
    inside = [
        archive.put(DAY - ONE_DAY, "early", _at(0, "arrived-early")),
        archive.put(DAY, "own", _at(1, "on-its-day"), _at(-0.001, "before"), _at(24, "after")),
        archive.put(DAY + ONE_DAY, "late", _at(23.9, "arrived-late")),
        archive.put(DAY + 2 * ONE_DAY, "later", _at(23.95, "within-reach")),
    ]
    archive.put(DAY - 2 * ONE_DAY, "too-early", _at(2, "x"))
    archive.put(DAY + 3 * ONE_DAY, "too-late", _at(3, "y"))
    assert await archive.ids() == ["within-reach", "arrived-late", "on-its-day", "arrived-early"]
    assert sorted(archive.bucket.fetched) == sorted(inside)


async def test_spans_have_a_beginning_and_no_end_to_the_microsecond(archive):
    span = Span(DAY, DAY + timedelta(microseconds=1))
    archive.put(DAY, "one", _at(0, "first"), entry("second", DAY + timedelta(microseconds=1)))
    assert await archive.ids(span=span) == ["first"]
    assert await archive.ids(span=Span(DAY, DAY)) == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(event_type="security_event"), ["b"]),
        (Filter(user_id=3), ["c", "a"]),
        (Filter(user_id=3, action="delete"), ["c"]),
        (Filter(resource="project/7"), ["a"]),
        (Filter(resource_prefix="project/7"), ["b", "a"]),
        (Filter(resource_prefix="%"), []),
        (Filter(resource="board/ü'1"), ["c"]),
        (Filter(resource="' OR 1=1 --"), []),
        (Filter(request_id="r1"), ["a"]),
        (Filter(session_id="s1"), ["b"]),
        (Filter(severity="high"), ["b"]),
    ],
)
async def test_filters(archive, wanted, found):
    archive.put(
        DAY,
        "one",
        _at(1, "a", user_id=3, request_id="r1"),
        _at(2, "b", resource="project/70", session_id="s1", severity="high",
            event_type="security_event"),
        _at(3, "c", resource="board/ü'1", user_id=3, action="delete"),
    )  # fmt: skip
    assert await archive.ids(wanted) == found


async def test_a_record_is_found_by_its_id(archive):
    archive.put(DAY, "one", _at(1, "a"), _at(2, "a", resource="x"), _at(3, "b"))
    found = await archive.store.get("a", SPAN)
    assert found.position == Position(DAY + timedelta(hours=2), "a")
    assert await archive.store.get("c", SPAN) is None


async def test_an_empty_archive_has_nothing(archive):
    assert await archive.ids() == []
    assert await archive.store.get("a", SPAN) is None


async def test_objects_are_fetched_once(archive):
    key = archive.put(DAY, "one", _at(1, "a"))
    for _ in range(3):
        assert await archive.ids() == ["a"]
    assert archive.bucket.fetched == [key]


async def test_later_pages_do_not_read_later_days(archive):
    archive.put(DAY, "one", _at(1, "a"))
    late = archive.put(DAY + 9 * ONE_DAY, "late", _at(9 * 24, "b"))
    span = Span(DAY, DAY + 10 * ONE_DAY)
    assert await archive.ids(span=span, before=Position(DAY + ONE_DAY, "x")) == ["a"]
    assert late not in archive.bucket.fetched


async def test_what_was_not_used_for_longest_makes_room(tmp_path):
    archive = Archive(tmp_path)
    keys = [archive.put(DAY + n * 10 * ONE_DAY, "one", _at(n * 240 + 1, f"e{n}")) for n in range(3)]
    spans = [Span(DAY + n * 10 * ONE_DAY, DAY + (n * 10 + 1) * ONE_DAY) for n in range(3)]
    size = max(map(len, archive.bucket.objects.values()))
    archive = Archive(tmp_path, disk_bytes=2 * size)
    archive.bucket.objects = _objects(tmp_path, keys)
    for n in (0, 1, 0, 2, 0, 1):
        assert await archive.ids(span=spans[n]) == [f"e{n}"]
    assert archive.bucket.fetched == [keys[0], keys[1], keys[2], keys[1]]
    assert len(list(archive.cache.iterdir())) == 2


def _objects(folder, keys):
    return {key: parquet([_at(n * 240 + 1, f"e{n}").record], folder) for n, key in enumerate(keys)}


async def test_too_much_to_read_is_refused_before_anything_is_fetched(tmp_path):
    for limits in ({"range_objects": 2}, {"range_bytes": 4_000}):
        archive = Archive(tmp_path, **limits)
        for n in range(3):
            archive.put(DAY, f"o{n}", _at(n, f"e{n}"))
        with pytest.raises(RangeTooWideError):
            await archive.ids()
        assert archive.bucket.fetched == []


async def _windows(archive, span, limit=100):
    """The ids of each page."""
    pages, before = [], None
    while True:
        page = await archive.store.find(Filter(), span, before, limit)
        pages.append([found.position.event_id for found in page.items])
        if page.next_before is None:
            return pages
        assert before is None or page.next_before < before
        before = page.next_before


@pytest.mark.parametrize("hours", [0, 0.5, 12, 23.9999])
@pytest.mark.parametrize("fits", [4, 5, 7, 12, 33, 34])
async def test_a_quiet_log_pages_through_any_range(tmp_path, fits, hours):
    archive = Archive(tmp_path, range_objects=fits)
    days = range(-1, 31)
    for n in days:
        archive.put(
            DAY + n * ONE_DAY, "o", _at(n * 24, f"e{n:02}-a"), _at(n * 24 + 7, f"e{n:02}-b")
        )
    span = Span(DAY + timedelta(hours=hours), DAY + 29 * ONE_DAY + timedelta(hours=hours))
    pages = await _windows(archive, span)
    wanted = [
        event_id
        for n in reversed(days)
        for at, event_id in ((n * 24 + 7, f"e{n:02}-b"), (n * 24, f"e{n:02}-a"))
        if hours <= at < 29 * 24 + hours
    ]
    assert [event_id for page in pages for event_id in page] == wanted
    # A day's neighbours are read beside each window.
    assert len(pages) <= 30 / (fits - 3) + 2
    assert (len(pages) == 1) == (fits > 32)
    single = await _windows(archive, span, limit=1)
    assert [event_id for page in single for event_id in page] == wanted


async def test_windows_reach_over_what_is_empty(tmp_path):
    archive = Archive(tmp_path, range_objects=2)
    for n, day in enumerate((0, 1, 3_000, 3_001)):
        archive.put(DAY + day * ONE_DAY, "o", _at(day * 24 + 1, f"e{n}"))
    span = Span(DAY - 900 * ONE_DAY, DAY + 4_000 * ONE_DAY)
    assert await _windows(archive, span) == [["e3", "e2"], ["e1", "e0"]]
    assert len(archive.bucket.listed) < 60


async def test_a_window_ends_where_a_day_is_too_much(tmp_path):
    archive = Archive(tmp_path, range_objects=4)
    for n in range(5):
        archive.put(DAY, f"o{n}", _at(n, f"e{n}"))
    archive.put(DAY + 10 * ONE_DAY, "o", _at(240, "late"))
    span = Span(DAY - ONE_DAY, DAY + 11 * ONE_DAY)
    page = await archive.store.find(Filter(), span, None, 10)
    assert [found.position.event_id for found in page.items] == ["late"]
    assert page.next_before == Position(DAY + 2 * ONE_DAY, "")
    with pytest.raises(RangeTooWideError):
        await archive.store.find(Filter(), span, page.next_before, 10)


async def test_a_crash_leaves_no_half_file_that_counts(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "x.partial").write_bytes(b"half")
    Archive(tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []


async def test_a_broken_object_is_an_error_of_the_archive(archive):
    archive.bucket.objects["events/day=2026-08-10/broken.parquet"] = b"not parquet"
    with pytest.raises(ArchiveUnavailableError):
        await archive.ids()


async def test_what_was_fetched_beside_a_failure_counts_and_nothing_else_is_left(archive):
    keys = [archive.put(DAY, f"o{n:02}", _at(n / 10, f"e{n:02}")) for n in range(40)]
    archive.bucket.broken = {keys[3]}
    with pytest.raises(ArchiveUnavailableError):
        await archive.ids()
    left = {path.name for path in archive.cache.iterdir()}
    assert left == {path.name for path in archive.files._kept}
    assert len(left) < len(keys)
    archive.bucket.broken.clear()
    fetched = len(archive.bucket.fetched)
    assert len(await archive.ids()) == len(keys)
    assert len(archive.bucket.fetched) - fetched == len(keys) - len(left)


async def test_a_full_disk_is_an_error_of_the_archive(archive, monkeypatch):
    archive.put(DAY, "one", _at(1, "a"))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full)
        with pytest.raises(ArchiveUnavailableError):
            await archive.ids()
    assert list(archive.cache.iterdir()) == []
    assert await archive.ids() == ["a"]


async def test_a_refusal_of_s3_is_an_error_of_the_archive(archive):
    archive.bucket.failure = ClientError({"Error": {"Code": "AccessDenied"}}, "ListObjectsV2")
    with pytest.raises(ArchiveUnavailableError):
        await archive.ids()
    with pytest.raises(ArchiveUnavailableError):
        await archive.store.check()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/hostname')",
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO '/tmp/out.csv'",
        "ATTACH '/tmp/other.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SELECT * FROM read_parquet('https://example.com/x.parquet')",
    ],
)
async def test_duckdb_reaches_nothing_but_the_files(archive, statement):
    archive.put(DAY, "one", _at(1, "a"))
    await archive.ids()
    with pytest.raises(duckdb.Error):
        archive.store._connection.execute(statement)


async def test_both_functions_speak_the_same(archive):
    entries = [_at(n, f"e{n}", user_id=3, metadata={"note": 'é"\\☃'}) for n in range(5)]
    archive.put(DAY, "one", *entries)
    function = ColdFunction("cold", lambda: Lambda(archive.store))
    for before in (None, Position(DAY + timedelta(hours=4), "e4")):
        asked = (Filter(user_id=3, resource_prefix="pro"), SPAN, before, 2)
        assert await function.find(*asked) == await archive.store.find(*asked)
    assert await function.get("e3", SPAN) == await archive.store.get("e3", SPAN)
    assert await function.get("x", SPAN) is None
    await function.check()


async def test_errors_cross_the_functions_with_their_meaning(tmp_path):
    archive = Archive(tmp_path, range_objects=1)
    for n in range(2):
        archive.put(DAY, f"o{n}", _at(n, f"e{n}"))
    client = Lambda(archive.store)
    function = ColdFunction("cold", lambda: client)
    with pytest.raises(RangeTooWideError):
        await function.find(Filter(), SPAN, None, 10)
    client.function_error = True
    with pytest.raises(ArchiveUnavailableError):
        await function.check()
    for failure in (
        ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke"),
        ConnectTimeoutError(endpoint_url="x"),
    ):
        client.failure = failure
        with pytest.raises(ArchiveUnavailableError):
            await function.check()


class Large:
    async def find(self, wanted, span, before, limit):
        record = b'{"note":"' + b'\\"' * 29_000 + b'"}'
        items = [Found(Position(DAY, f"e{limit - n:03}"), record) for n in range(limit)]
        return FoundPage(items, None)


class Sealer:
    """The Lambda client of a sealer, or of one that does not answer."""

    def __init__(self, failure=None, kind=None, answer=None) -> None:
        self.failure, self.kind, self.answer = failure, kind, answer or {"sealed": 3}
        self.asked: list[bytes] = []

    def invoke(self, FunctionName, Payload):  # noqa: N803
        assert FunctionName == "sealer"
        self.asked.append(Payload)
        if self.failure:
            raise self.failure
        answer = {"Payload": io.BytesIO(json.dumps(self.answer).encode())}
        return {**answer, "FunctionError": self.kind} if self.kind else answer


async def test_the_sealer_is_invoked_and_its_answer_awaited():
    client = Sealer()
    assert await SealerFunction("sealer", lambda: client).seal() == {"sealed": 3}
    assert [json.loads(payload) for payload in client.asked] == [FLUSH]


async def test_the_sealer_is_asked_for_a_note():
    client = Sealer(answer={"note": "n"})
    assert await SealerFunction("sealer", lambda: client).sign_export(b"d" * 32) == "n"
    assert [json.loads(payload) for payload in client.asked] == [export_event(b"d" * 32)]


@pytest.mark.parametrize(
    "client",
    [
        Sealer(ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke")),
        Sealer(ConnectTimeoutError(endpoint_url="x")),
        Sealer(kind="Unhandled"),
    ],
)
async def test_a_sealer_that_does_not_answer(client):
    with pytest.raises(SealingError):
        await SealerFunction("sealer", lambda: client).seal()
    assert len(client.asked) == 1


async def test_an_answer_stays_below_what_a_function_may_answer():
    client = Lambda(Large())
    page = await ColdFunction("cold", lambda: client).find(Filter(), SPAN, None, 100)
    assert 1 < len(page.items) < 100
    assert page.next_before == page.items[-1].position
    assert len(client.payloads[0]) < 4_100_000


def test_the_first_record_of_a_page_stays_whatever_its_size():
    page = FoundPage([Found(Position(DAY, "b"), b"x" * 50), Found(Position(DAY, "a"), b"y")], None)
    cut = fitting(page, limit=10)
    assert cut == FoundPage(page.items[:1], Position(DAY, "b"))
    assert fitting(page, limit=51) is page
