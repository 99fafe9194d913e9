"""Queries over an archive of 1,000,000 records in hourly Parquet objects of 30 days.

The bucket is a folder: what S3 and the network add to the first query of a range is not measured.
"""

import asyncio
import io
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from botocore.response import StreamingBody

from bench.figure import Figure
from functions.audit.adapters.archive_files import ArchiveFiles
from functions.audit.adapters.duckdb_store import DuckdbStore
from functions.audit.domain.models import Filter, Position, Span

RECORDS = 1_000_000
_DAYS = 30
_FIRST = datetime(2026, 6, 1, tzinfo=UTC)
_SPAN = Span(_FIRST, _FIRST + timedelta(days=_DAYS))
_LIMIT = 50
_ROUNDS = 5
_KILOBYTES = 1024.0

# As many bytes as an event of a service has, and hashes where it has ids: they do not compress.
_ROWS = """
SELECT md5(i::VARCHAR) AS event_id,
    strftime(TIMESTAMP '{start}' + INTERVAL (i * {step}) MICROSECOND,
        '%Y-%m-%dT%H:%M:%S.%fZ') AS "timestamp",
    ['user_action', 'system_event', 'security_event', 'data_event'][i % 4 + 1] AS event_type,
    (i * 7919 % 5000 + 1)::BIGINT AS user_id,
    'project/' || (i * 104729 % 700) AS resource,
    ['create', 'update', 'delete', 'read'][i // 4 % 4 + 1] AS action,
    md5('r' || i) AS request_id,
    md5('s' || i // 20) AS session_id,
    CASE WHEN i % 4 = 2 THEN ['low', 'medium', 'high', 'critical'][i // 8 % 4 + 1] END AS severity,
    'projectflow' AS producer,
    i::BIGINT AS sequence,
    '{{"action":"update","event_id":"' || md5(i::VARCHAR) || '","metadata":{{"before":"'
        || md5('b' || i) || '","after":"' || md5('a' || i) || '"}},"reported_by":"'
        || repeat('arn:aws:iam::000000000000:role/', 6) || '","request_id":"' || md5('r' || i)
        || '"}}' AS record
FROM range({first}, {last}) t(i)
"""


def measure() -> Iterator[Figure]:
    """The first query, then the 95th percentile of warm ones over every kind of query."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bucket = _Bucket(folder / "bucket")
        bucket.fill()
        files = ArchiveFiles("bench", folder / "cache", make=lambda: bucket)  # type: ignore[arg-type,return-value]
        yield from asyncio.run(_queries(DuckdbStore(files, folder / "cache")))
    yield Figure("archive: objects of the range", len(bucket.sizes), "")
    yield Figure("archive: bytes of the range", sum(bucket.sizes.values()) / 1e6, "MB", 512)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KILOBYTES
    yield Figure("archive: memory of the process at most", peak, "MB", 2_048)


async def _queries(store: DuckdbStore) -> list[Figure]:
    started = time.perf_counter()
    await store.find(Filter(), _SPAN, None, _LIMIT)
    figures = [Figure("archive: first query of a range", time.perf_counter() - started, "s")]
    taken: list[float] = []
    for name, wanted, before in _kinds():
        rounds = []
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            await store.find(wanted, _SPAN, before, _LIMIT)
            rounds.append(time.perf_counter() - started)
        taken += rounds
        figures.append(Figure(f"archive, warm: {name}", statistics.median(rounds), "s"))
    slow = statistics.quantiles(taken, n=20)[-1]
    return [*figures, Figure("archive of 1 M records, warm: p95", slow, "s", 2.0)]


def _kinds() -> Iterator[tuple[str, Filter, Position | None]]:
    middle = Position(_FIRST + timedelta(days=_DAYS / 2), "x")
    yield "newest", Filter(), None
    yield "a later page", Filter(), middle
    yield "one person's", Filter(user_id=77), None
    yield "one request's", Filter(request_id="2d711642b726b04401627ca9fbac32f5"), None
    yield "none at all", Filter(resource="nothing"), None
    yield "a resource's", Filter(resource="project/7", action="delete"), None
    yield "a prefix", Filter(resource_prefix="project/6"), None
    yield "a severity's", Filter(event_type="security_event", severity="critical"), None


class _Bucket:
    """What of an S3 client is used, over a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.sizes: dict[str, int] = {}

    def fill(self) -> None:
        """Writes the objects of every hour."""
        self._folder.mkdir()
        hours = _DAYS * 24
        step = int(timedelta(days=_DAYS).total_seconds() * 1e6) // RECORDS
        with duckdb.connect() as connection:
            for hour in range(hours):
                first, last = RECORDS * hour // hours, RECORDS * (hour + 1) // hours
                path = self._folder / f"{hour}.parquet"
                rows = _ROWS.format(start=_FIRST.isoformat(), step=step, first=first, last=last)
                connection.execute(
                    f"COPY ({rows}) TO '{path}' (FORMAT PARQUET, COMPRESSION SNAPPY)"
                )
                day = _FIRST + timedelta(hours=hour)
                self.sizes[f"events/day={day:%Y-%m-%d}/{path.name}"] = path.stat().st_size

    def get_paginator(self, _operation: str) -> "_Bucket":
        return self

    def paginate(self, **arguments: str) -> Iterator[dict[str, Any]]:
        names = sorted(name for name in self.sizes if name > arguments["StartAfter"])
        yield {"Contents": [{"Key": name, "Size": self.sizes[name]} for name in names]}

    def get_object(self, **arguments: str) -> dict[str, Any]:
        content = (self._folder / Path(arguments["Key"]).name).read_bytes()
        return {"Body": StreamingBody(io.BytesIO(content), len(content))}
