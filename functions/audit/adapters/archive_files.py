"""The archive's Parquet objects of a range of days, kept on local disk: they never change."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from functions.audit.domain.errors import ArchiveUnavailableError, RangeTooWideError
from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIX = "events/day="
"""Then `YYYY-MM-DD/`, the day of arrival, and Firehose's own names."""

_SCRATCH = "audit-cold-"
_ONE_DAY = timedelta(days=1)
_CHUNK_BYTES = 1024 * 1024
_WORKERS = 16
_CONNECT_SECONDS = 2
_READ_SECONDS = 10
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """What one query may read, and what stays on disk between queries.

    512 MB come from S3 in about 7 s at the 75 MB/s of a function's network, well within the 29 s of
    API Gateway; 5,000 objects are what five listings name. The disk holds one range of that size
    while it still holds another.
    """

    range_bytes: int = 512_000_000
    range_objects: int = 5_000
    disk_bytes: int = 1_024_000_000


@dataclass(frozen=True, slots=True)
class _Object:
    key: str
    size: int


def scratch_folder() -> Path:
    """A folder for this process; those of processes that have ended are removed.

    A function that crashed starts again beside what it left; in the local cloud, functions share
    one file system.
    """
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{_SCRATCH}*"):
        process = left.name.removeprefix(_SCRATCH)
        if process.isdecimal() and not _alive(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    return parent / f"{_SCRATCH}{os.getpid()}"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class ArchiveFiles:
    """Files of the archive; not for use by several threads at once."""

    def __init__(
        self,
        bucket: str,
        folder: Path,
        limits: CacheLimits | None = None,
        make: Callable[[], S3Client] | None = None,
    ) -> None:
        self._bucket = bucket
        self._folder = folder
        self._limits = limits or CacheLimits()
        self._client: LazyClient[S3Client] = LazyClient(make or _make_client)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="archive")
        self._kept: OrderedDict[Path, int] = OrderedDict()
        # What a process that crashed has left half done cannot be told from what is whole.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def of_days(self, first: date, last: date) -> list[Path]:
        """Paths of all objects that arrived from `first` to `last`; they stay until the next call.

        Raises `RangeTooWideError` before anything is fetched, and `ArchiveUnavailableError`.
        """
        with _as_domain_errors():
            return self._paths(self._list(first, last))

    def of_newest_days(self, first: date, last: date, least: date) -> tuple[date, list[Path]]:
        """As `of_days`, from the first day on from which one query may read everything up to
        `last`; that day too.

        It is not before `first`. Raises `RangeTooWideError` when it would be after `least`.
        """
        with _as_domain_errors():
            begin, objects = self._newest(first, last, max(first, least))
            return begin, self._paths(objects)

    def check(self) -> None:
        """Raises `ArchiveUnavailableError` when the bucket does not answer."""
        with _as_domain_errors():
            self._client.get().list_objects_v2(Bucket=self._bucket, Prefix=PREFIX, MaxKeys=1)

    def _paths(self, objects: Sequence[_Object]) -> list[Path]:
        wanted = {self._path(entry.key): entry for entry in objects}
        self._make_room(wanted)
        self._fetch_all({path: wanted[path] for path in wanted if path not in self._kept})
        for path in wanted:
            self._kept.move_to_end(path)
        return list(wanted)

    def _newest(self, first: date, last: date, begin: date) -> tuple[date, Sequence[_Object]]:
        """Steps back from `begin`, in steps that double until one is too wide, then halve."""
        objects = self._list(begin, last)
        step, growing = 1, True
        while begin > first and step:
            earlier = begin - min(timedelta(days=step), begin - first)
            try:
                objects = self._list(earlier, begin - _ONE_DAY, objects)
            except RangeTooWideError:
                growing = False
            else:
                begin = earlier
            step = step * 2 if growing else step // 2
        return begin, objects

    def _list(self, first: date, last: date, others: Sequence[_Object] = ()) -> Sequence[_Object]:
        """The objects of these days, and `others`."""
        objects = list(others)
        size = sum(entry.size for entry in objects)
        for entry in self._listing(first, last):
            objects.append(entry)
            size += entry.size
            if size > self._limits.range_bytes or len(objects) > self._limits.range_objects:
                raise RangeTooWideError
        return objects

    def _listing(self, first: date, last: date) -> Iterator[_Object]:
        """One listing over all the days: names sort as days do."""
        pages = (
            self._client.get()
            .get_paginator("list_objects_v2")
            .paginate(
                Bucket=self._bucket, Prefix=PREFIX, StartAfter=f"{PREFIX}{first.isoformat()}/"
            )
        )
        end = f"{PREFIX}{(last + _ONE_DAY).isoformat()}/"
        for page in pages:
            for entry in page.get("Contents", ()):
                if entry["Key"] >= end:
                    return
                yield _Object(entry["Key"], entry["Size"])

    def _make_room(self, wanted: dict[Path, _Object]) -> None:
        """Removes what was not used for longest, and nothing that is wanted now."""
        needed = sum(entry.size for path, entry in wanted.items() if path not in self._kept)
        spare = self._limits.disk_bytes - sum(self._kept.values())
        for path in [path for path in self._kept if path not in wanted]:
            if spare >= needed:
                return
            spare += self._kept.pop(path)
            path.unlink(missing_ok=True)

    def _fetch_all(self, missing: dict[Path, _Object]) -> None:
        """Fetches these; when one fails, what has begun ends and counts, and the rest is left."""
        fetching = {
            self._workers.submit(self._fetch, path, entry): path for path, entry in missing.items()
        }
        wait(fetching, return_when=FIRST_EXCEPTION)
        begun = [future for future in fetching if not future.cancel()]
        wait(begun)
        failures = [future.exception() for future in begun]
        for future, failure in zip(begun, failures, strict=True):
            if failure is None:
                self._kept[fetching[future]] = missing[fetching[future]].size
        for failure in filter(None, failures):
            raise failure

    def _fetch(self, path: Path, entry: _Object) -> None:
        partial = path.with_suffix(f".{uuid4().hex}.partial")
        try:
            body = self._client.get().get_object(Bucket=self._bucket, Key=entry.key)["Body"]
            with partial.open("wb") as file:
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    file.write(chunk)
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.parquet"


@contextmanager
def _as_domain_errors() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        _logger.exception(
            "the archive refused", extra={"aws_code": error.response["Error"]["Code"]}
        )
        raise ArchiveUnavailableError(retry_after=1) from None
    except (BotoCoreError, OSError):
        # Of the network, or of a disk that is full.
        _logger.exception("the archive failed")
        raise ArchiveUnavailableError(retry_after=1) from None


def _make_client() -> S3Client:
    client: S3Client = make_client(
        "s3",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=_WORKERS,
    )
    return client
