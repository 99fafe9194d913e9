"""Interactive queries over the archive: DuckDB on the Parquet objects of the days asked for."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functions.audit.adapters.archive_files import ArchiveFiles
from functions.audit.domain.errors import ArchiveUnavailableError, RangeTooWideError
from functions.audit.domain.models import Filter, Found, FoundPage, Position, Span
from servicekit.clock import from_text, to_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DAYS_EITHER_SIDE = timedelta(days=1)
"""Objects lie under the day they arrived on, which may not be the day of the record."""

_HARDENING = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_RESOURCES = {
    # Of a function of 2,048 MB, which has little more than one processor.
    "memory_limit": "1GB",
    "threads": 2,
    # From this many rows of a page on, DuckDB would read every record to sort them (its default
    # is 50); below, it sorts places and then reads the records of those it answers.
    "late_materialization_max_rows": 1_000,
    # The footers of objects that never change.
    "parquet_metadata_cache": True,
}
_REPEATED = 2
"""Rows read for each one asked for: Firehose may deliver a record more than once."""

_MICROSECOND = timedelta(microseconds=1)
_logger = logging.getLogger(__name__)


class DuckdbStore:
    """`ports.ColdStore` on DuckDB, one query at a time: a function has one request at a time."""

    def __init__(self, files: ArchiveFiles, folder: Path) -> None:
        self._files = files
        self._folder = folder
        self._lock = threading.Lock()
        self._connection: DuckDBPyConnection | None = None

    async def find(
        self, wanted: Filter, span: Span, before: Position | None, limit: int
    ) -> FoundPage:
        """See `ports.ColdStore`."""
        return await asyncio.to_thread(self._find, wanted, span, before, limit)

    async def get(self, event_id: str, span: Span) -> Found | None:
        """See `ports.ColdStore`."""
        return await asyncio.to_thread(self._get, event_id, span)

    async def check(self) -> None:
        """See `ports.ColdStore`."""
        await asyncio.to_thread(self._files.check)

    def _find(self, wanted: Filter, span: Span, before: Position | None, limit: int) -> FoundPage:
        conditions = dict(_conditions(wanted))
        if before is not None:
            conditions['("timestamp", event_id) < (?, ?)'] = [
                to_text(before.accepted_at),
                before.event_id,
            ]
            # Later days have nothing to say any more. No id is below the empty one.
            end = before.accepted_at + (_MICROSECOND if before.event_id else timedelta())
            span = Span(span.start, min(span.end, end))
        if span.end <= span.start:
            return FoundPage([], None)
        asked = _REPEATED * (limit + 1)
        with self._lock:
            window, files = self._window(span)
            rows = self._select(files, conditions, window, asked)
        items = list({found.position: found for found in rows}.values())
        if len(items) > limit:
            return FoundPage(items[:limit], items[limit - 1].position)
        if len(rows) == asked:
            # So many repetitions that the page is not full: the next one goes on behind them.
            return FoundPage(items, items[-1].position)
        return FoundPage(items, Position(window.start, "") if window.start > span.start else None)

    def _get(self, event_id: str, span: Span) -> Found | None:
        first, last = _days(span)
        with self._lock:
            files = self._files.of_days(first, last)
            found = self._select(files, {"event_id = ?": [event_id]}, span, 1)
        return found[0] if found else None

    def _window(self, span: Span) -> tuple[Span, Sequence[Path]]:
        """The newest part of `span` that one query may read, of a day at least, and its files."""
        first, last = _days(span)
        newest = Span(span.end - _MICROSECOND, span.end)
        begin, files = self._files.of_newest_days(first, last, _days(newest)[0])
        if begin == first:
            return span, files
        midnight = datetime.combine(begin, time(), UTC)
        return Span(midnight + DAYS_EITHER_SIDE, span.end), files

    def _select(
        self,
        files: Sequence[Path],
        conditions: Mapping[str, Sequence[object]],
        span: Span,
        limit: int,
    ) -> list[Found]:
        """Rows of `span` that meet all of `conditions` (SQL to values), newest first."""
        import duckdb  # noqa: PLC0415  (loaded on first use)

        if not files:
            return []
        within = {
            '"timestamp" >= ?': [to_text(span.start)],
            '"timestamp" < ?': [to_text(span.end)],
            **conditions,
        }
        values = [value for values in within.values() for value in values]
        try:
            rows = (
                self._connect()
                .execute(_statement(within), [[str(path) for path in files], *values, limit])
                .fetchall()
            )
        except duckdb.OutOfMemoryException:
            raise RangeTooWideError from None
        except duckdb.Error:
            _logger.exception("duckdb failed", extra={"files": len(files)})
            raise ArchiveUnavailableError from None
        return [_found(row) for row in rows]

    def _connect(self) -> DuckDBPyConnection:
        """A connection that reads the files in `folder` and reaches nothing else."""
        if self._connection is None:
            import duckdb  # noqa: PLC0415

            connection = duckdb.connect()
            for name, value in _RESOURCES.items():
                connection.execute(f"SET {name} = ?", [value])
            connection.execute("SET allowed_directories = ?", [[str(self._folder)]])
            for statement in _HARDENING:
                connection.execute(statement)
            self._connection = connection
        return self._connection


def _days(span: Span) -> tuple[date, date]:
    """The first and the last day under which the objects of `span` may lie."""
    return (span.start - DAYS_EITHER_SIDE).date(), (span.end + DAYS_EITHER_SIDE).date()


def _statement(conditions: Mapping[str, object]) -> str:
    # Only our own text is put together here; every value is a parameter.
    return (
        'SELECT "timestamp", event_id, record FROM read_parquet(?, hive_partitioning = false)'  # noqa: S608
        f" WHERE {' AND '.join(conditions)}"
        ' ORDER BY "timestamp" DESC, event_id DESC LIMIT ?'
    )


def _conditions(wanted: Filter) -> Iterator[tuple[str, list[object]]]:
    for name, value in asdict(wanted).items():
        if value is not None:
            prefix = name == "resource_prefix"
            yield ("starts_with(resource, ?)" if prefix else f"{name} = ?"), [value]


def _found(row: tuple[Any, ...]) -> Found:
    accepted_at, event_id, record = row
    return Found(Position(from_text(accepted_at), event_id), record.encode())
