"""From stored records to the archive: a row per record, packed into few large deliveries."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

from functions.audit.domain.errors import ArchiveUnavailableError
from functions.audit.domain.ports import Archive

COLUMNS: Mapping[str, str] = {
    "event_id": "string",
    "timestamp": "string",
    "event_type": "string",
    "user_id": "bigint",
    "resource": "string",
    "action": "string",
    "request_id": "string",
    "session_id": "string",
    "severity": "string",
    "producer": "string",
    "sequence": "bigint",
    "record": "string",
}
"""The archive's columns and their Glue types.

`timestamp` is text as `servicekit.clock.to_text` writes it: it sorts as the times do, and keeps its
microseconds, which Firehose's Parquet timestamps do not. `record` holds the canonical bytes.
"""

MAX_DELIVERY_BYTES = 1_024_000
"""Of one Firehose record before base64: 1,000 KiB
(https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html)."""

_ATTEMPTS = 5
_BACKOFF_SECONDS = 0.1
_MAX_BACKOFF_SECONDS = 2.0
_logger = logging.getLogger(__name__)

Sleep = Callable[[float], Awaitable[None]]


class Archiver:
    """Hands stored records to the archive, each at least once: readers drop repeated ids."""

    def __init__(self, archive: Archive, sleep: Sleep = asyncio.sleep) -> None:
        self._archive = archive
        self._sleep = sleep

    async def archive(self, records: Iterable[bytes]) -> int:
        """Delivers canonical records; returns how many deliveries that took.

        What is refused is tried again, and nothing else is. Raises `ArchiveUnavailableError` when
        some of it still is refused in the end: the stream then gives the batch again.
        """
        deliveries = list(pack(row(record) for record in records))
        pending: Sequence[bytes] = deliveries
        for attempt in range(_ATTEMPTS):
            if not pending:
                return len(deliveries)
            if attempt:
                await self._sleep(_pause(attempt))
            refused = await self._archive.put(pending)
            pending = [pending[position] for position in refused]
        if pending:
            _logger.error("the archive refuses records", extra={"deliveries": len(pending)})
            raise ArchiveUnavailableError
        return len(deliveries)


def row(record: bytes) -> bytes:
    """A canonical record as one line of JSON with the archive's columns, newline included."""
    content = json.loads(record)
    columns = {name: content[name] for name in COLUMNS if name != "record" and name in content}
    columns["record"] = record.decode()
    return json.dumps(columns, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def pack(rows: Iterable[bytes], limit: int = MAX_DELIVERY_BYTES) -> Iterator[bytes]:
    """Joins rows into deliveries of at most `limit` bytes each.

    Firehose bills each of its records in steps of 5 KB. Raises `ValueError` on a row that is larger
    by itself, which no record of at most 60,000 bytes makes.
    """
    packed: list[bytes] = []
    size = 0
    for line in rows:
        if len(line) > limit:
            raise ValueError("a row exceeds what one delivery holds")
        if size + len(line) > limit:
            yield b"".join(packed)
            packed, size = [], 0
        packed.append(line)
        size += len(line)
    if packed:
        yield b"".join(packed)


def _pause(attempt: int) -> float:
    # Full jitter: shards that were refused together must not come back together.
    longest = min(_BACKOFF_SECONDS * 2**attempt, _MAX_BACKOFF_SECONDS)
    return random.uniform(0, longest)  # noqa: S311
