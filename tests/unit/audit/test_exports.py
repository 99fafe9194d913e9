"""Exports: asked for once, made by workers that may die anywhere, verified by an outsider."""

import asyncio
import io
import json
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from datetime import timedelta

import pytest
from jsonschema import Draft202012Validator

from contracts.audit import audit_verify
from functions.audit.adapters.exports import DynamoExports
from functions.audit.domain.collection import Collection
from functions.audit.domain.errors import (
    ArchiveUnavailableError,
    ExportConflictError,
    ExportNotFoundError,
    InvalidRangeError,
    SealingError,
)
from functions.audit.domain.export_worker import ExportLimits, ExportWorker, Sources
from functions.audit.domain.exports import ExportRequest, ExportService
from functions.audit.domain.models import Filter, Found, Position
from functions.audit.domain.proofs import Placed
from functions.audit.domain.spans import Range
from functions.audit.routes.queue import ExportTask, export_task
from servicekit.clock import to_text
from servicekit.dynamodb import Page
from servicekit.errors import StoreUnavailableError
from servicekit.idempotency import IdempotencyConflictError
from servicekit.paging import InvalidCursorError, encode_cursor
from tests.fakes.audit_log import LOG_NAME, LogExportSigner, MemoryLog
from tests.fakes.audit_reading import (
    NOW,
    Clock,
    MemoryArchiveReader,
    MemoryExports,
    MemoryFiles,
    MemoryQueue,
    MemoryRecords,
    entry,
)

pytestmark = pytest.mark.anyio

HOT_DAYS = 90
REQUEST = ExportRequest(Filter(), Range(NOW - timedelta(days=200), NOW), "role")


class Sink:
    """Table, archive and log with the same records; exports over them."""

    def __init__(self, entries=(), unsealed=(), **limits) -> None:
        self.clock = Clock()
        self.entries = [*entries, *unsealed]
        self.log = MemoryLog()
        self.sealed = entries
        kept = NOW - timedelta(days=HOT_DAYS)
        self.records = MemoryRecords(e for e in self.entries if e.accepted_at >= kept)
        self.archive = MemoryArchiveReader([*self.entries, *self.entries[:2]])
        self.exports, self.queue, self.files = MemoryExports(), MemoryQueue(), MemoryFiles()
        self.service = ExportService(self.exports, self.files, self.queue, self.clock)
        self.limits = ExportLimits(**limits)

    async def ready(self):
        for e in self.sealed:
            self.log.accept(e.event_id, e.record)
        if self.sealed:
            await self.log.seal()
        return self

    def worker(self, **replaced):
        parts = {
            "exports": self.exports,
            "files": self.files,
            "signer": LogExportSigner(self.log),
            **replaced,
        }
        sources = Sources(self.records, self.archive, self.log.proofs(), HOT_DAYS)
        return ExportWorker(
            parts["exports"], parts["files"], sources, parts["signer"], self.clock, self.limits
        )

    async def create(self, request=REQUEST, key=None):
        return await self.service.create(request, key)


def days_back(*days: float, **fields):
    return [entry(f"e{n:03}", NOW - timedelta(days=day), **fields) for n, day in enumerate(days)]


def bundle_of(sink):
    (content,) = sink.files.stored.values()
    return zipfile.ZipFile(io.BytesIO(content))


def lines_of(sink):
    return [json.loads(line) for line in bundle_of(sink).read("records.jsonl").splitlines()]


# Asking for them.


async def test_an_export_is_stored_then_queued():
    sink = Sink()
    export = await sink.create()
    assert sink.queue.sent == [export.export_id]
    assert sink.exports.stored == {export.export_id: export}
    assert (export.status, export.requested_by) == ("queued", "role")
    assert export.expires_at == NOW + timedelta(days=7)


async def test_a_range_that_goes_on_is_exported_anew_each_time():
    for end in (None, NOW + timedelta(days=1)):
        sink = Sink()
        request = replace(REQUEST, range=Range(REQUEST.range.start, end))
        first = await sink.create(request)
        sink.clock.move(minutes=1)
        second = await sink.create(request)
        assert second.export_id != first.export_id
        assert second.span.end == first.span.end + timedelta(minutes=1)


async def test_the_same_request_of_a_range_that_has_ended_is_the_same_export():
    sink = Sink()
    first = await sink.create()
    sink.clock.move(minutes=40)
    assert (await sink.create()).export_id == first.export_id
    for other in (
        replace(REQUEST, principal="other"),
        replace(REQUEST, filter=Filter(user_id=1)),
        replace(REQUEST, range=Range(REQUEST.range.start, NOW - timedelta(days=1))),
    ):
        assert (await sink.create(other)).export_id != first.export_id


async def test_a_key_is_the_same_export_at_any_time_and_of_nothing_else():
    sink = Sink()
    first = await sink.create(key="k")
    sink.clock.move(days=2)
    assert (await sink.create(key="k")).export_id == first.export_id
    assert (await sink.create(key="l")).export_id != first.export_id
    assert (await sink.create(replace(REQUEST, principal="b"), "k")).requested_by == "b"
    for other in (
        replace(REQUEST, filter=Filter(user_id=1)),
        replace(REQUEST, range=Range(NOW - timedelta(days=100), NOW)),
        replace(REQUEST, range=Range(REQUEST.range.start, NOW - timedelta(days=1))),
    ):
        with pytest.raises(IdempotencyConflictError):
            await sink.create(other, "k")


async def test_a_crash_between_storing_and_queueing_is_healed_by_the_next_request():
    sink = Sink()
    sink.queue.failure = StoreUnavailableError()
    with pytest.raises(StoreUnavailableError):
        await sink.create()
    sink.queue.failure = None
    export = await sink.create()
    assert sink.queue.sent == [export.export_id]
    assert len(sink.exports.stored) == 1


@pytest.mark.parametrize("status", ["failed", "running"])
async def test_what_failed_or_stalled_is_made_anew(status):
    sink = Sink()
    export = await sink.create()
    await sink.exports.update(replace(export, status=status, error="export_failed", records=9))
    sink.clock.move(minutes=3)
    again = await sink.create()
    assert (again.status, again.error, again.records) == ("queued", None, 0)
    assert sink.queue.sent == [export.export_id] * 2


async def test_what_is_being_made_or_made_is_left_alone():
    sink = Sink()
    export = await sink.create()
    running = await sink.exports.update(replace(export, status="running"))
    assert await sink.create() == running
    done = await sink.exports.update(replace(running, status="completed"))
    assert await sink.create() == done
    assert sink.queue.sent == [export.export_id]


async def test_an_expired_export_is_none():
    sink = Sink()
    export = await sink.create(key="k")
    sink.clock.move(days=7)
    with pytest.raises(ExportNotFoundError):
        await sink.service.get(export.export_id)
    assert (await sink.service.list_exports(10, None)).exports == []
    again = await sink.create(key="k")
    assert again.expires_at > sink.clock.now
    with pytest.raises(ExportNotFoundError):
        await sink.service.get("exp-unknown")


async def test_a_range_of_nothing_is_refused():
    sink = Sink()
    with pytest.raises(InvalidRangeError):
        await sink.create(replace(REQUEST, range=Range(NOW + timedelta(days=1), None)))
    assert sink.exports.stored == {}


async def test_exports_are_listed_newest_first():
    sink = Sink()
    made = []
    for n in range(5):
        made.append((await sink.create(key=f"k{n}")).export_id)
        sink.clock.move(seconds=1)
    seen, cursor = [], None
    for _ in range(3):
        page = await sink.service.list_exports(2, cursor)
        seen += [export.export_id for export in page.exports]
        cursor = page.next_cursor
    assert seen == made[::-1]
    assert cursor is None
    with pytest.raises(InvalidCursorError):
        await sink.service.list_exports(2, "nonsense")


class Table:
    """Takes the queries that DynamoDB would take, and finds nothing."""

    def __init__(self) -> None:
        self.starts: list[object] = []

    async def query(self, _condition, _values, *, start, **_others):
        self.starts.append(start)
        return Page([], None)


@pytest.mark.parametrize(
    "position",
    [
        "",
        "#",
        "x",
        f"#exp-{'0' * 32}",
        "2026-11-22T12:00:00Z#\x00",
        "2026-11-22T12:00:00Z#\ue000",
        f"2026-11-22T12:00:00Z#exp-{'0' * 1_100}",
        f"{'2' * 1_100}#exp-{'0' * 32}",
        f"\ud800026-11-22T12:00:00Z#exp-{'0' * 32}",
    ],
)
async def test_a_cursor_of_the_list_that_somebody_made_up(position):
    service = ExportService(DynamoExports(Table()), MemoryFiles(), MemoryQueue(), Clock())
    with pytest.raises(InvalidCursorError):
        await service.list_exports(2, encode_cursor(position, "exports"))


@pytest.mark.parametrize("moment", [NOW, NOW + timedelta(microseconds=1)])
async def test_a_cursor_of_the_list_that_was_given(moment):
    table = Table()
    export = await Sink().create()
    position = f"{to_text(moment)}#{export.export_id}"
    assert await DynamoExports(table).list(2, position) == ([], None)
    assert table.starts[0]["pk"] == f"EXPORT#{export.export_id}"


# Making them.


async def test_a_bundle_is_verified_by_an_outsider(tmp_path):
    sealed = days_back(150, 100, 89.5, 80, 1)
    unsealed = [entry("young", NOW - timedelta(seconds=1))]
    sink = await Sink(sealed, unsealed).ready()
    export = await sink.create()
    await sink.worker().run(export.export_id)
    view = await sink.service.get(export.export_id)
    assert view.export.status == "completed"
    assert (view.export.records, view.export.proven) == (6, 5)
    assert view.export.size_bytes == len(next(iter(sink.files.stored.values())))
    assert view.link == f"https://files.test/{export.export_id}.zip?link=1"
    assert (await sink.service.get(export.export_id)).link != view.link
    assert {seconds for _, seconds in sink.files.links} == {3_600}
    lines = lines_of(sink)
    assert [json.loads(line["record"])["event_id"] for line in lines] == [
        "e000", "e001", "e002", "e003", "e004", "young",
    ]  # fmt: skip
    assert [line["leaf_index"] for line in lines] == [0, 1, 2, 3, 4, None]
    schema = json.loads(bundle_of(sink).read("schema.json"))
    Draft202012Validator.check_schema(schema)
    for line in lines:
        Draft202012Validator(schema).validate(json.loads(line["record"]))
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(sink.files.stored[f"{export.export_id}.zip"])
    vkey = (await sink.log.proofs().key()).vkey
    result = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-I", audit_verify.__file__, str(bundle), "--key", vkey],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == audit_verify.NOT_PROVEN, result.stdout
    assert "REFUSED" not in result.stdout


async def test_what_cannot_be_signed_is_tried_again():
    class NoSigner:
        async def sign_export(self, _):
            raise SealingError

    sink = await Sink(days_back(1)).ready()
    export = await sink.create()
    with pytest.raises(SealingError):
        await sink.worker(signer=NoSigner()).run(export.export_id)
    assert (await sink.exports.get(export.export_id)).status == "queued"
    assert sink.files.stored == {}


@pytest.mark.parametrize("digest", ["", "00" * 31, "00" * 33, "log\n7\n", "xx" * 32])
async def test_the_sealer_signs_no_other_text(digest):
    log = MemoryLog()
    with pytest.raises(ValueError, match=r"SHA-256|hexadecimal"):
        await log.sealing_function().run({"sign_export": digest})


async def test_an_exports_note_is_no_checkpoint():
    log = MemoryLog()
    note = await LogExportSigner(log).sign_export(bytes(32))
    assert note.startswith(f"{LOG_NAME}\nexport\n{'00' * 32}\n\n")
    with pytest.raises(audit_verify.RefusedError, match="not origin, size and root"):
        audit_verify.open_checkpoint(note, await log.proofs().key())


async def test_each_record_is_in_the_bundle_once_and_each_store_reads_its_part():
    entries = days_back(*range(1, 180, 2))
    sink = await Sink(entries).ready()
    sink.records.largest_page = 7
    export = await sink.create()
    await sink.worker().run(export.export_id)
    assert len(lines_of(sink)) == len(entries)
    boundary = NOW - timedelta(days=HOT_DAYS - 1)
    assert all(span.start == boundary for span in sink.records.asked)
    assert [span.end for span in sink.archive.asked] == [boundary]


async def test_a_recent_range_starts_no_query_of_the_archive():
    sink = await Sink(days_back(1, 2)).ready()
    export = await sink.create(replace(REQUEST, range=Range(NOW - timedelta(days=30), NOW)))
    await sink.worker().run(export.export_id)
    assert sink.archive.asked == []
    assert len(lines_of(sink)) == 2


async def test_only_what_the_filter_asks_for():
    entries = [*days_back(1, 2, user_id=3), entry("other", NOW - timedelta(days=3), user_id=4)]
    sink = await Sink(entries).ready()
    export = await sink.create(replace(REQUEST, filter=Filter(user_id=4)))
    await sink.worker().run(export.export_id)
    (line,) = lines_of(sink)
    assert json.loads(line["record"])["event_id"] == "other"
    assert json.loads(bundle_of(sink).read("manifest.json"))["filter"] == {"user_id": 4}


async def test_nothing_sealed_yet_is_a_bundle_without_proofs():
    sink = await Sink((), days_back(1)).ready()
    export = await sink.create()
    await sink.worker().run(export.export_id)
    assert (await sink.service.get(export.export_id)).export.proven == 0
    assert "checkpoint" not in bundle_of(sink).namelist()


async def test_of_an_id_that_was_used_again_the_newest_record_is_exported():
    old, new = (entry("again", NOW - timedelta(days=days)) for days in (180, 120))
    sink = await Sink([new]).ready()
    sink.archive.entries = [old, new, old]
    export = await sink.create()
    await sink.worker().run(export.export_id)
    (line,) = lines_of(sink)
    assert line["record"].encode() == new.record
    assert line["leaf_index"] == 0


def test_the_disk_holds_the_records_of_an_export_once(tmp_path):
    collection = Collection(tmp_path / "records.sqlite")
    database = collection._database
    statements = []
    database.set_trace_callback(statements.append)
    collection.add(Found(Position(e.accepted_at, e.event_id), e.record) for e in days_back(3, 2, 1))
    collection.place({"e001": Placed(0, [b"x" * 32]), "e000": Placed(1, [])})
    placed = [place and place.leaf_index for _, place in collection.in_order()]
    assert placed == [0, 1, None]
    database.set_trace_callback(None)
    (query,) = (text for text in statements if text.startswith("SELECT"))
    plan = database.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
    assert [row[-1] for row in plan] == ["SCAN records USING INDEX in_order"]
    assert database.execute("PRAGMA page_size").fetchone() == (16_384,)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("off",)
    collection.close()
    assert [path.name for path in tmp_path.iterdir()] == ["records.sqlite"]


class KilledError(BaseException):
    """The process is gone: nothing after it runs, no status is written."""


class Mortal:
    """Dies at the n-th call of any port; counts them."""

    def __init__(self, target, deaths) -> None:
        self.target, self.deaths = target, deaths

    def __getattr__(self, name):
        attribute = getattr(self.target, name)
        if name == "read":

            async def items(*arguments):
                self.deaths.step()
                async for item in attribute(*arguments):
                    self.deaths.step()
                    yield item

            return items

        async def call(*arguments):
            self.deaths.step()
            result = await attribute(*arguments)
            self.deaths.step()
            return result

        return call


class Deaths:
    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def step(self):
        self.count += 1
        if self.count == self.at:
            raise KilledError


async def test_a_worker_killed_at_any_step_is_followed_by_one_that_completes():
    entries = days_back(150, 100, 80, 1)
    at = 0
    while True:
        at += 1
        sink = await Sink(entries).ready()
        export = await sink.create()
        deaths = Deaths(at)
        sources = Sources(
            Mortal(sink.records, deaths),
            Mortal(sink.archive, deaths),
            Mortal(sink.log.proofs(), deaths),
            HOT_DAYS,
        )
        worker = ExportWorker(
            Mortal(sink.exports, deaths),
            Mortal(sink.files, deaths),
            sources,
            Mortal(LogExportSigner(sink.log), deaths),
            sink.clock,
        )
        try:
            await worker.run(export.export_id)
        except KilledError:
            pass
        else:
            break
        if (await sink.exports.get(export.export_id)).status == "running":
            # Too early: the one that died might be alive.
            with pytest.raises(ExportConflictError):
                await sink.worker().run(export.export_id)
        sink.clock.move(minutes=3)
        await sink.worker().run(export.export_id)
        made = await sink.exports.get(export.export_id)
        assert (made.status, made.records, made.proven) == ("completed", 4, 4), at
        assert len(lines_of(sink)) == 4
    assert at > 20


async def test_a_message_that_comes_twice_makes_one_bundle():
    sink = await Sink(days_back(1)).ready()
    export = await sink.create()
    outcomes = await asyncio.gather(
        *(sink.worker().run(export.export_id) for _ in range(4)), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ExportConflictError) for outcome in outcomes) == 3
    done = await sink.exports.get(export.export_id)
    assert done.status == "completed"
    await sink.worker().run(export.export_id)
    assert await sink.exports.get(export.export_id) == done


async def test_an_export_that_is_gone_is_no_work():
    sink = Sink()
    await sink.worker().run("exp-gone")
    assert sink.exports.stored == {}
    assert sink.files.stored == {}


class WaitingFiles(MemoryFiles):
    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def put(self, name, path):
        self.reached.set()
        await self.go.wait()
        return await super().put(name, path)


async def test_a_worker_tells_how_far_it_is_while_it_works():
    sink = await Sink(days_back(1, 2), renewal_seconds=0.001).ready()
    export = await sink.create()
    files = WaitingFiles()
    work = asyncio.create_task(sink.worker(files=files).run(export.export_id))
    await files.reached.wait()
    sink.clock.move(minutes=1)
    sink.exports.written.clear()
    await sink.exports.written.wait()
    told = await sink.exports.get(export.export_id)
    assert (told.status, told.records) == ("running", 2)
    files.go.set()
    await work
    assert (await sink.exports.get(export.export_id)).status == "completed"


async def test_a_worker_that_has_lost_its_lease_ends_and_writes_nothing():
    sink = await Sink(days_back(1, 2), renewal_seconds=0.001).ready()
    export = await sink.create()
    files = WaitingFiles()
    work = asyncio.create_task(sink.worker(files=files).run(export.export_id))
    await files.reached.wait()
    current = await sink.exports.get(export.export_id)
    taken = replace(current, version=current.version + 7)
    sink.exports.stored[export.export_id] = taken
    with pytest.raises(ExportConflictError):
        await work
    assert sink.exports.stored[export.export_id] == taken
    assert files.stored == {}


@pytest.mark.parametrize("limits", [{"records": 3}, {"size_bytes": 700}])
async def test_too_large_an_export_fails_with_a_reason(limits):
    sink = await Sink(days_back(1, 2, 3, 100), **limits).ready()
    export = await sink.create()
    await sink.worker().run(export.export_id)
    failed = (await sink.service.get(export.export_id)).export
    assert (failed.status, failed.error) == ("failed", "export_too_large")
    assert sink.files.stored == {}


async def test_too_slow_an_export_fails_with_a_reason():
    sink = await Sink(days_back(1), seconds=0.01).ready()
    export = await sink.create()
    await sink.worker(files=WaitingFiles()).run(export.export_id)
    failed = (await sink.service.get(export.export_id)).export
    assert (failed.status, failed.error) == ("failed", "export_too_slow")


@pytest.mark.parametrize("lost", [False, True])
async def test_no_thread_is_at_work_on_the_records_when_they_are_closed(monkeypatch, lost):
    # Long enough for a busy machine to begin reading in, over while the reading is held up.
    limits = {"renewal_seconds": 0.001} if lost else {"seconds": 1}
    sink = await Sink(days_back(1, 2, 3), **limits).ready()
    export = await sink.create()
    reached, go, steps = asyncio.Event(), threading.Event(), []
    loop, in_order, close = asyncio.get_running_loop(), Collection.in_order, Collection.close

    def slowly(collection):
        for item in in_order(collection):
            steps.append("read")
            yield item
            loop.call_soon_threadsafe(reached.set)
            go.wait(5)

    def closing(collection):
        steps.append("closed")
        close(collection)

    monkeypatch.setattr(Collection, "in_order", slowly)
    monkeypatch.setattr(Collection, "close", closing)
    work = asyncio.create_task(sink.worker().run(export.export_id))
    await reached.wait()
    if lost:
        current = await sink.exports.get(export.export_id)
        sink.exports.stored[export.export_id] = replace(current, version=current.version + 7)
    await asyncio.sleep(0.2 if lost else 1.2)
    assert steps == ["read"]
    assert not work.done()
    go.set()
    if lost:
        with pytest.raises(ExportConflictError):
            await work
    else:
        await work
        assert (await sink.exports.get(export.export_id)).error == "export_too_slow"
    assert steps == ["read", "read", "closed"]
    assert sink.files.stored == {}


async def test_a_tampered_record_is_never_exported_as_if_nothing_were():
    entries = days_back(1, 2)
    sink = await Sink(entries).ready()
    sink.records.entries[0] = replace(
        entries[0], record=entries[0].record.replace(b"update", b"delete")
    )
    export = await sink.create()
    await sink.worker().run(export.export_id)
    failed = (await sink.service.get(export.export_id)).export
    assert (failed.status, failed.error) == ("failed", "log_inconsistent")
    assert {"ProofsRefused": 1} in sink.log.metrics.values


async def test_what_may_pass_is_tried_again_and_fails_on_the_last_try():
    sink = await Sink(days_back(1, 100)).ready()
    export = await sink.create()
    sink.records.failure = ArchiveUnavailableError()
    for last_try, status, error in (
        (False, "queued", None),
        (True, "failed", "export_failed"),
    ):
        with pytest.raises(ArchiveUnavailableError):
            await sink.worker().run(export.export_id, last_try=last_try)
        stored = await sink.exports.get(export.export_id)
        assert (stored.status, stored.error) == (status, error)
    sink.records.failure = None
    await sink.create()
    await sink.worker().run(export.export_id)
    assert (await sink.exports.get(export.export_id)).status == "completed"


async def test_nothing_is_left_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sink = await Sink(days_back(1)).ready()
    export = await sink.create()
    await sink.worker().run(export.export_id)
    assert next(tmp_path.iterdir(), None) is None


@pytest.mark.parametrize(("receives", "last"), [("1", False), ("2", False), ("3", True)])
def test_the_queues_last_delivery_is_known(receives, last):
    message = {
        "body": json.dumps({"export_id": "exp-1"}),
        "attributes": {"ApproximateReceiveCount": receives},
    }
    assert export_task(message) == ExportTask("exp-1", last_try=last)
