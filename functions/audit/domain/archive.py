"""From stored records to the archive: a row per record, packed into few large deliveries."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from functions.audit.domain.errors import ArchiveUnavailableError
from functions.audit.domain.ports import Archive
from functions.audit.domain.record_schema import RECORD_SCHEMA
from servicekit.backoff import full_jitter
from servicekit.metrics import Metrics

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

MALFORMED = "RecordsMalformed"
"""Metric that an alarm watches: anything above zero."""

_MAX_BIGINT = 2**63 - 1
_MAX_NAMED = 20
_MAX_KEY_TEXT = 200
_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_logger = logging.getLogger(__name__)

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Insertion:
    """An item that was put into the record table: its partition key, and its record if any."""

    key: str
    record: bytes | None


class Archiver:
    """Hands stored records to the archive, each at least once: readers drop repeated ids."""

    def __init__(self, archive: Archive, metrics: Metrics, sleep: Sleep = asyncio.sleep) -> None:
        self._archive = archive
        self._metrics = metrics
        self._sleep = sleep

    async def archive(self, insertions: Iterable[Insertion]) -> int:
        """Delivers canonical records; returns how many deliveries that took.

        What is no record is left out and told: our own code puts none, and it must not keep the
        others waiting. What is refused is tried again, and nothing else is. Raises
        `ArchiveUnavailableError` when some of it still is refused in the end: the stream then gives
        the batch again.
        """
        rows: list[bytes] = []
        malformed: list[str] = []
        for insertion in insertions:
            line = _row_or_none(insertion.record)
            if line is None:
                malformed.append(insertion.key[:_MAX_KEY_TEXT])
            else:
                rows.append(line)
        if malformed:
            _logger.error(
                "items of the record table hold no record",
                extra={"items": len(malformed), "keys": malformed[:_MAX_NAMED]},
            )
        deliveries = await self._deliver(rows)
        if malformed:
            # After the records: they do not wait for the metric, which if lost fails the batch.
            await self._metrics.put({MALFORMED: float(len(malformed))})
        return deliveries

    async def _deliver(self, rows: Iterable[bytes]) -> int:
        deliveries = list(pack(rows))
        pending: Sequence[bytes] = deliveries
        for attempt in range(_ATTEMPTS):
            if not pending:
                return len(deliveries)
            if attempt:
                await self._sleep(
                    full_jitter(attempt, _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
                )
            refused = await self._archive.put(pending)
            pending = [pending[position] for position in refused]
        if pending:
            _logger.error("the archive refuses records", extra={"deliveries": len(pending)})
            raise ArchiveUnavailableError
        return len(deliveries)


def row(record: bytes) -> bytes:
    """A canonical record as one line of JSON with the archive's columns, newline included.

    Raises `ValueError` for what is no record, as far as the archive's columns tell.
    """
    text = record.decode()
    content = _parsed(text)
    if not isinstance(content, dict) or not content.keys() >= set(RECORD_SCHEMA["required"]):
        raise ValueError("not a record")
    columns = {name: content[name] for name in COLUMNS if name != "record" and name in content}
    if not all(_fits(value, COLUMNS[name]) for name, value in columns.items()):
        raise ValueError("a value of another type than its column's")
    columns["record"] = text
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


def _row_or_none(record: bytes | None) -> bytes | None:
    if record is None:
        return None
    try:
        line = row(record)
    except ValueError:
        return None
    return line if len(line) <= MAX_DELIVERY_BYTES else None


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _fits(value: object, column: str) -> bool:
    # Firehose refuses to convert a value of another type, and rows are delivered many in one.
    if value is None:
        return True
    if column == "string":
        return isinstance(value, str)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_BIGINT
