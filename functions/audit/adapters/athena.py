"""The archive for exports: one Athena query, its result read from S3 row by row."""

from __future__ import annotations

import asyncio
import csv
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from functions.audit.domain.errors import ArchiveUnavailableError
from functions.audit.domain.models import Filter, Found, Position, Span
from servicekit.aws import LazyClient, make_client
from servicekit.clock import from_text, to_text

if TYPE_CHECKING:
    from mypy_boto3_athena import AthenaClient
    from mypy_boto3_s3 import S3Client

DAYS_EITHER_SIDE = timedelta(days=1)
"""Objects lie under the day they arrived on, which may not be the day of the record."""

_ROWS_AT_ONCE = 1_000
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 3.0
_CONNECT_SECONDS = 2
_READ_SECONDS = 20
_ENDED_BADLY = frozenset({"FAILED", "CANCELLED"})
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AthenaTable:
    """Where the archive is queried."""

    workgroup: str
    database: str
    table: str


class AthenaArchive:
    """`ports.ArchiveReader` on Athena."""

    def __init__(
        self,
        table: AthenaTable,
        make_athena: Callable[[], AthenaClient] | None = None,
        make_s3: Callable[[], S3Client] | None = None,
    ) -> None:
        self._table = table
        self._athena: LazyClient[AthenaClient] = LazyClient(
            make_athena or (lambda: _make_client("athena"))
        )
        self._s3: LazyClient[S3Client] = LazyClient(make_s3 or (lambda: _make_client("s3")))

    async def read(self, wanted: Filter, span: Span) -> AsyncIterator[Found]:
        """See `ports.ArchiveReader`. Raises `ArchiveUnavailableError`."""
        execution = await self._call(self._start, statement(self._table, wanted, span))
        location = await self._finished(execution)
        rows = await self._call(self._open, location, execution)
        while batch := await self._call(lambda: list(islice(rows, _ROWS_AT_ONCE))):
            for event_id, accepted_at, record in batch:
                yield Found(Position(from_text(accepted_at), event_id), record.encode())

    async def _finished(self, execution: str) -> str:
        """Waits for the query; where its result lies."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            state, location = await self._call(self._state, execution)
            if state == "SUCCEEDED":
                return str(location)
            if state in _ENDED_BADLY:
                # The reason that Athena gives quotes the query.
                _logger.error("athena failed", extra={"execution": execution, "state": state})
                raise ArchiveUnavailableError
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _start(self, query: str) -> str:
        answer = self._athena.get().start_query_execution(
            QueryString=query,
            QueryExecutionContext={"Database": self._table.database},
            WorkGroup=self._table.workgroup,
        )
        return answer["QueryExecutionId"]

    def _state(self, execution: str) -> tuple[str, str]:
        answer = self._athena.get().get_query_execution(QueryExecutionId=execution)
        query = answer["QueryExecution"]
        return query["Status"]["State"], query["ResultConfiguration"]["OutputLocation"]

    def _open(self, location: str, execution: str) -> Iterator[list[str]]:
        """The result's rows without its header.

        GetQueryResults would take a call for each 1,000 rows.
        """
        place = urlsplit(location)
        listed = self._s3.get().list_objects_v2(
            Bucket=place.netloc, Prefix=place.path.removeprefix("/")
        )
        # AWS writes to the location itself, MiniStack to a name below it.
        names = [entry["Key"] for entry in listed.get("Contents", ())]
        name = next((name for name in names if name.endswith(f"{execution}.csv")), None)
        if name is None:
            _logger.error("athena wrote no result", extra={"execution": execution})
            raise ArchiveUnavailableError
        body: Any = self._s3.get().get_object(Bucket=place.netloc, Key=name)["Body"]
        rows = csv.reader(io.TextIOWrapper(io.BufferedReader(body), "utf-8", newline=""))
        next(rows, None)
        return rows

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.to_thread(_as_domain_errors, function, *arguments)


def statement(table: AthenaTable, wanted: Filter, span: Span) -> str:
    """The query: standard SQL, values as literals with their quotes doubled."""
    first, last = span.start - DAYS_EITHER_SIDE, span.end + DAYS_EITHER_SIDE
    conditions = [
        f"\"day\" BETWEEN '{first:%Y-%m-%d}' AND '{last:%Y-%m-%d}'",
        f'"timestamp" >= {_literal(to_text(span.start))}',
        f'"timestamp" < {_literal(to_text(span.end))}',
    ]
    for name, value in asdict(wanted).items():
        if name == "resource_prefix" and value is not None:
            conditions.append(f"starts_with(resource, {_literal(value)})")
        elif value is not None:
            conditions.append(f"{name} = {_literal(value)}")
    return (
        'SELECT DISTINCT event_id, "timestamp", record'  # noqa: S608  (see `_literal`)
        f' FROM "{table.database}"."{table.table}" WHERE {" AND ".join(conditions)}'
    )


def _literal(value: str | int) -> str:
    """A value in Athena's SQL, whose strings know no escapes but the doubled quote.

    The local cloud's Athena knows no execution parameters.
    """
    if isinstance(value, int):
        return str(value)
    quoted = value.replace("'", "''")
    return f"'{quoted}'"


def _as_domain_errors(function: Callable[..., Any], *arguments: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        return function(*arguments)
    except ClientError as error:
        _logger.exception("athena refused", extra={"aws_code": error.response["Error"]["Code"]})
        raise ArchiveUnavailableError from None
    except (BotoCoreError, OSError):
        _logger.exception("athena failed")
        raise ArchiveUnavailableError from None


def _make_client(service: str) -> Any:
    return make_client(
        service,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 4},
    )
