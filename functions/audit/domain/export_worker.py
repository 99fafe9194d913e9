"""Makes exports: collects records from table and archive, proves them, stores the signed bundle.

A worker holds an export by its version: what it writes of itself every few seconds is its lease.
One that dies leaves an export that tells nothing any more, and the next one begins it anew.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from functions.audit.domain import bundle
from functions.audit.domain.bundle import BundleWriter, ManifestBase
from functions.audit.domain.collection import Collection
from functions.audit.domain.errors import (
    CheckpointNotFoundError,
    ExportConflictError,
    LogInconsistentError,
)
from functions.audit.domain.exports import STALLED
from functions.audit.domain.models import Checkpoint, Export, Found, FoundPage, Position, Span
from functions.audit.domain.ports import (
    ArchiveReader,
    ExportFiles,
    Exports,
    ExportSigner,
    RecordReader,
)
from functions.audit.domain.proofs import ProofService
from functions.audit.domain.record_schema import RECORD_SCHEMA
from functions.audit.domain.spans import hot_boundary, split
from servicekit.clock import Clock
from servicekit.errors import AppError

_RENEWAL_SECONDS = STALLED.total_seconds() / 4
_PAGE = 500
_ADDED_AT_ONCE = 1_000
_PROVEN_AT_ONCE = 500
_DoneT = TypeVar("_DoneT")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportLimits:
    """What one export may hold, and how long it may take.

    A function lives 15 minutes: proving and packing take 0.2 ms of a processor for each record,
    reading from the table about as long again. Its disk, of 6 GB, holds the records with their
    paths, their indexes, and the bundle.
    """

    records: int = 500_000
    size_bytes: int = 700_000_000
    seconds: float = 780.0
    renewal_seconds: float = _RENEWAL_SECONDS


class ExportTooLargeError(Exception):
    """More than one export may hold; `code` is what its caller is told."""

    code = "export_too_large"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where records are read, and what proves them."""

    records: RecordReader
    archive: ArchiveReader
    proofs: ProofService
    hot_days: int


class ExportWorker:
    """Makes one export at a time."""

    def __init__(
        self,
        exports: Exports,
        files: ExportFiles,
        sources: Sources,
        signer: ExportSigner,
        clock: Clock,
        limits: ExportLimits | None = None,
    ) -> None:
        self._exports = exports
        self._files = files
        self._sources = sources
        self._signer = signer
        self._clock = clock
        self._limits = limits or ExportLimits()

    async def run(self, export_id: str, *, last_try: bool = False) -> None:
        """Makes the export; does nothing when there is nothing to do any more.

        Raises `ExportConflictError` while another worker has it in hand, and whatever kept this one
        from making it, for the queue to try again; on its `last_try` the export has failed.
        """
        export = await self._exports.get(export_id)
        if export is None or export.status in {"completed", "failed"}:
            return
        now = self._clock()
        if export.status == "running" and export.updated_at + STALLED > now:
            raise ExportConflictError(retry_after=int(STALLED.total_seconds()))
        lease = _Lease(self._exports, self._clock, export, self._limits.renewal_seconds)
        await lease.tell(status="running", records=0, proven=0)
        try:
            async with lease.kept(), asyncio.timeout(self._limits.seconds):
                done = await self._make(lease)
        except (ExportTooLargeError, LogInconsistentError) as error:
            await lease.tell(status="failed", error=error.code)
        except TimeoutError:
            await lease.tell(status="failed", error="export_too_slow")
        except ExportConflictError:
            # It belongs to another worker by now.
            raise
        except Exception:
            _logger.exception("an export was not made", extra={"export_id": export_id})
            failure: dict[str, Any] = {"status": "failed", "error": "export_failed"}
            await lease.tell(**(failure if last_try else {"status": "queued"}))
            raise
        else:
            await lease.tell(status="completed", **done)

    async def _make(self, lease: _Lease) -> dict[str, Any]:
        """What is to be noted of the finished export."""
        with tempfile.TemporaryDirectory(prefix="export-") as folder:
            path = Path(folder) / "bundle.zip"
            collection = Collection(Path(folder) / "records.sqlite")
            try:
                await self._collect(lease, collection)
                base = await self._prove(lease.export, collection)
                proven = await _in_thread(lambda stop: _write(path, base, collection, stop))
            finally:
                collection.close()
            digest = await _in_thread(lambda _: bundle.digest(str(path)))
            bundle.attach(str(path), await self._signer.sign_export(digest))
            name = f"{lease.export.export_id}.zip"
            size = await self._files.put(name, str(path))
            return {
                "records": collection.count,
                "proven": proven,
                "object_name": name,
                "size_bytes": size,
            }

    async def _collect(self, lease: _Lease, collection: Collection) -> None:
        export = lease.export
        hot, cold = split(export.span, hot_boundary(self._clock(), self._sources.hot_days))
        if hot is not None:
            async for page in self._hot(export, hot):
                self._add(lease, collection, page.items)
        if cold is not None:
            waiting: list[Found] = []
            async for found in self._sources.archive.read(export.filter, cold):
                waiting.append(found)
                if len(waiting) == _ADDED_AT_ONCE:
                    self._add(lease, collection, waiting)
                    waiting = []
            self._add(lease, collection, waiting)

    async def _hot(self, export: Export, span: Span) -> AsyncIterator[FoundPage]:
        before: Position | None = None
        while True:
            page = await self._sources.records.find(export.filter, span, before, _PAGE)
            yield page
            before = page.next_before
            if before is None:
                return

    def _add(self, lease: _Lease, collection: Collection, found: Sequence[Found]) -> None:
        collection.add(found)
        lease.records = collection.count
        if (
            collection.count > self._limits.records
            or collection.size_bytes > self._limits.size_bytes
        ):
            raise ExportTooLargeError

    async def _prove(self, export: Export, collection: Collection) -> ManifestBase:
        """Notes the places of all records in one state of the log; what the bundle says of it."""
        proofs = self._sources.proofs
        newest: Checkpoint | None = None
        # While the log is empty, there is none.
        with suppress(CheckpointNotFoundError):
            newest = await proofs.latest()
        if newest is not None:
            for records in collection.groups(_PROVEN_AT_ONCE):
                collection.place(await proofs.place(records, newest))
        key = await proofs.key()
        return ManifestBase(key.vkey, newest, self._clock(), export.span, export.filter)


async def _in_thread(work: Callable[[threading.Event], _DoneT]) -> _DoneT:
    """Runs `work` in a thread, which has ended when this ends: cancelled, it sets the event."""
    stop = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        while not running.done():
            # A second reason to cancel changes nothing.
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        raise


def _write(path: Path, base: ManifestBase, collection: Collection, stop: threading.Event) -> int:
    """Writes the bundle; returns how many of its records are proven.

    Once `stop` is set, nobody waits for the bundle any more, and it is left as it is.
    """
    with BundleWriter(str(path), base) as writer:
        for record, placed in collection.in_order():
            if stop.is_set():
                return 0
            writer.add(record, placed)
        writer.finish(RECORD_SCHEMA)
        return writer.proven


class _Lease:
    """The export as this worker wrote it last."""

    def __init__(
        self, exports: Exports, clock: Clock, export: Export, renewal_seconds: float
    ) -> None:
        self._exports = exports
        self._clock = clock
        self._renewal_seconds = renewal_seconds
        self.export = export
        self.records = 0

    async def tell(self, **changes: Any) -> None:
        """Writes to the export. Raises `ExportConflictError` when another worker has it."""
        changed = replace(self.export, updated_at=self._clock(), **changes)
        self.export = await self._exports.update(changed)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Tells every few seconds how far the work has come, beside it.

        The work ends with `ExportConflictError` when the lease is lost.
        """
        work = asyncio.current_task()
        stop = asyncio.Event()
        renewal = asyncio.create_task(self._renew(work, stop))
        try:
            yield
        except asyncio.CancelledError:
            if not renewal.done() or work is None:
                raise
            work.uncancel()
        finally:
            # Not cancelled: a write that is under way may take effect all the same.
            stop.set()
            lost = await renewal
        if lost is not None:
            raise lost

    async def _renew(
        self, work: asyncio.Task[Any] | None, stop: asyncio.Event
    ) -> ExportConflictError | None:
        """Renews until told to stop; returns the error of a lease that was lost."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._renewal_seconds)
                return None
            try:
                await self.tell(records=self.records)
            except ExportConflictError as error:
                if work is not None:
                    work.cancel()
                return error
            except AppError:
                _logger.warning("a lease was not renewed", exc_info=True)
