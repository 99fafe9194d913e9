"""The way into the archive: a Firehose delivery stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from functions.audit.domain.errors import ArchiveUnavailableError
from servicekit.aws import LazyClient, guarded, make_client

if TYPE_CHECKING:
    from mypy_boto3_firehose import FirehoseClient

MAX_RECORDS = 500
MAX_BYTES = 4 * 1024 * 1024
"""Of one PutRecordBatch, before base64
(https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html)."""

_CONNECT_SECONDS = 2
_READ_SECONDS = 10
_logger = logging.getLogger(__name__)


class FirehoseArchive:
    """`ports.Archive` on Firehose."""

    def __init__(
        self, delivery_stream: str, make: Callable[[], FirehoseClient] | None = None
    ) -> None:
        self._stream = delivery_stream
        self._client: LazyClient[FirehoseClient] = LazyClient(make or _make_client)

    async def put(self, rows: Sequence[bytes]) -> list[int]:
        """See `ports.Archive`; each of `rows` becomes one Firehose record."""
        refused: list[int] = []
        for start, batch in _batches(rows):
            refused += [start + n for n in await asyncio.to_thread(self._put, batch)]
        return refused

    def _put(self, batch: Sequence[bytes]) -> list[int]:
        answer = guarded(
            "firehose",
            ArchiveUnavailableError,
            lambda: self._client.get().put_record_batch(
                DeliveryStreamName=self._stream, Records=[{"Data": data} for data in batch]
            ),
        )
        if not answer["FailedPutCount"]:
            return []
        # An answer of 200 says nothing about the entries: each tells for itself.
        entries = answer["RequestResponses"]
        codes = {entry["ErrorCode"] for entry in entries if "ErrorCode" in entry}
        refused = [n for n, entry in enumerate(entries) if "ErrorCode" in entry]
        _logger.warning(
            "firehose refused entries", extra={"entries": len(refused), "aws_codes": sorted(codes)}
        )
        return refused


def _batches(rows: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """The rows in groups that one call takes, each with the position of its first."""
    start, size = 0, 0
    for position, data in enumerate(rows):
        if position > start and (position - start == MAX_RECORDS or size + len(data) > MAX_BYTES):
            yield start, rows[start:position]
            start, size = position, 0
        size += len(data)
    if start < len(rows):
        yield start, rows[start:]


def _make_client() -> FirehoseClient:
    client: FirehoseClient = make_client(
        "firehose",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return client
