"""The record table: what puts, and what reads. See `keys` for items and indexes.

| access pattern             | operation                                                       |
| -------------------------- | --------------------------------------------------------------- |
| store records              | TransactWriteItems: record and marker, both new, up to 50 pairs |
|                            | at once; after a cancellation pair by pair                      |
| a record                   | GetItem, consistent                                             |
| records of a filter        | Query on the most selective index, newest first; the records    |
|                            | found by BatchGetItem, consistent                               |
| records that indexes may   | Query of the newest markers of the last seconds, consistent     |
| not show yet               |                                                                 |
| a producer's sequences     | Query on gsi10                                                  |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from functions.audit.adapters import keys
from functions.audit.adapters.index import IndexReader
from functions.audit.adapters.markers import Markers, marker_item
from functions.audit.adapters.terms import terms_attributes, terms_from
from functions.audit.domain.merkle import leaf_hash
from functions.audit.domain.models import (
    Appended,
    Entry,
    Filter,
    Found,
    FoundPage,
    Marker,
    Position,
    Span,
)
from functions.audit.domain.ports import Producers
from servicekit.clock import Clock, from_text, to_text
from servicekit.dynamodb import (
    NEW,
    TRANSACTION_SIZE,
    DynamoTable,
    Item,
    Put,
    TransactionRefusedError,
    Write,
)
from servicekit.errors import StoreUnavailableError

FRESH_SECONDS = 3
"""How long a record is also found by its marker: longer than an index takes to show it, and than
the sealer leaves a marker alone."""

_logger = logging.getLogger(__name__)
_PAIRS = TRANSACTION_SIZE // 2
# A transaction has at most 4 MB; what an item has beside its record is far below the rest.
_TRANSACTION_BYTES = 3_000_000
_PAGE_BYTES = 4_000_000
"""Of the records of one page: a function's answer has at most 6 MB."""


class DynamoRecordWriter:
    """`ports.RecordWriter` on the record table and the ledger."""

    def __init__(
        self, records: DynamoTable, ledger: DynamoTable, producers: Producers, hot_days: int
    ) -> None:
        self._records = records
        self._ledger = ledger
        self._producers = producers
        self._hot = timedelta(days=hot_days)
        self._known_producers: set[str] = set()

    async def append(self, entries: Sequence[Entry]) -> list[Appended | Exception]:
        """See `ports.RecordWriter`."""
        await self._register({e.producer for e in entries if e.producer and e.sequence})
        outcomes = await asyncio.gather(*(self._append(part) for part in _parts(entries)))
        return [outcome for part in outcomes for outcome in part]

    async def check(self) -> None:
        """See `ports.RecordWriter`."""
        await self._records.get(keys.PROBE, consistent=False)

    async def _register(self, producers: set[str]) -> None:
        for producer in producers - self._known_producers:
            await self._producers.register(producer)
            self._known_producers.add(producer)

    async def _append(self, entries: Sequence[Entry]) -> list[Appended | Exception]:
        try:
            await self._records.transact([write for e in entries for write in self._writes(e)])
        except TransactionRefusedError:
            return list(await asyncio.gather(*(self._append_one(entry) for entry in entries)))
        except StoreUnavailableError as error:
            return [error for _ in entries]
        return [Appended(entry, created=True) for entry in entries]

    async def _append_one(self, entry: Entry) -> Appended | Exception:
        try:
            await self._records.transact(self._writes(entry))
        except TransactionRefusedError:
            return await self._found(entry)
        except StoreUnavailableError as error:
            return error
        return Appended(entry, created=True)

    async def _found(self, entry: Entry) -> Appended | Exception:
        try:
            item = await self._records.get(keys.record_key(entry.event_id))
        except StoreUnavailableError as error:
            return error
        if item is None:
            return StoreUnavailableError(retry_after=1)
        return Appended(_entry_from(item), created=False)

    def _writes(self, entry: Entry) -> list[Write]:
        return [
            Put(self.item(entry), NEW),
            Put(marker_item(self.marker(entry)), NEW, table=self._ledger.name),
        ]

    @staticmethod
    def marker(entry: Entry) -> Marker:
        """The marker that is stored with the record."""
        return Marker(entry.event_id, entry.accepted_at, leaf_hash(entry.record), entry.terms)

    def item(self, entry: Entry) -> Item:
        """The record as it is stored."""
        return {
            **keys.record_key(entry.event_id),
            **keys.index_attributes(entry),
            **terms_attributes(entry.terms),
            "accepted_at": to_text(entry.accepted_at),
            "record": entry.record,
            "fingerprint": entry.fingerprint,
            "producer": entry.producer,
            "sequence": entry.sequence,
            "expires_at": int((entry.accepted_at + self._hot).timestamp()),
        }


class DynamoRecordReader:
    """`ports.RecordReader` on the record table, with the ledger's markers over its indexes."""

    def __init__(self, records: DynamoTable, ledger: DynamoTable, clock: Clock) -> None:
        self._records = records
        self._index = IndexReader(records)
        self._markers = Markers(ledger)
        self._clock = clock

    async def get(self, event_id: str) -> Entry | None:
        """See `ports.RecordReader`."""
        item = await self._records.get(keys.record_key(event_id))
        return _entry_from(item) if item else None

    async def get_many(self, event_ids: Sequence[str]) -> list[Entry]:
        """See `ports.RecordReader`."""
        wanted = list(dict.fromkeys(event_ids))
        items = await self._records.get_batch([keys.record_key(event_id) for event_id in wanted])
        found = {entry.event_id: entry for entry in _entries(items)}
        return [found[event_id] for event_id in wanted if event_id in found]

    async def find(
        self, wanted: Filter, span: Span, before: Position | None, limit: int
    ) -> FoundPage:
        """See `ports.RecordReader`."""
        fresh, indexed = await asyncio.gather(
            self._fresh(wanted, span, before, limit), self._index.find(wanted, span, before, limit)
        )
        # What the index has not come to yet waits for its turn.
        if indexed.next_before is not None:
            fresh = [position for position in fresh if position >= indexed.next_before]
        positions = sorted({*fresh, *indexed.positions}, reverse=True)
        page = positions[:limit]
        entries = await self.get_many([position.event_id for position in page])
        shown = _within(entries, _PAGE_BYTES)
        items = [Found(Position(e.accepted_at, e.event_id), e.record) for e in shown]
        if len(shown) < len(entries):
            return FoundPage(items, items[-1].position)
        return FoundPage(items, page[-1] if len(positions) > limit else indexed.next_before)

    async def sequences(self, producer: str, after: int, limit: int) -> list[tuple[int, datetime]]:
        """See `ports.RecordReader`."""
        index = keys.INDEXES[keys.PRODUCER]
        page = await self._records.query(
            f"{index}pk = :pk AND {index}sk > :after",
            {":pk": keys.partition(keys.PRODUCER, producer), ":after": keys.sequence_sk(after)},
            index=index,
            limit=limit,
        )
        return [
            (int(str(item[f"{index}sk"])), from_text(str(item["accepted_at"])))
            for item in page.items
        ]

    async def check(self) -> None:
        """See `ports.RecordReader`."""
        await self._records.get(keys.PROBE, consistent=False)

    async def _fresh(
        self, wanted: Filter, span: Span, before: Position | None, limit: int
    ) -> list[Position]:
        since = max(self._clock() - timedelta(seconds=FRESH_SECONDS), span.start)
        upper = keys.upper_bound(span.end, before)
        if upper <= to_text(since):
            return []
        return await self._markers.newest(wanted, since, keys.just_below(upper), limit + 1)


def _entries(items: Iterable[Mapping[str, Any]]) -> Iterator[Entry]:
    """The records among items. Whatever else somebody put there hides none of them."""
    for item in items:
        try:
            yield _entry_from(item)
        except (KeyError, TypeError, ValueError):
            _logger.exception("an item is no record", extra={"key": str(item["pk"])[:200]})


def _entry_from(item: Mapping[str, Any]) -> Entry:
    return Entry(
        event_id=keys.event_of_record(item["pk"]),
        accepted_at=from_text(item["accepted_at"]),
        record=item["record"],
        fingerprint=item["fingerprint"],
        terms=terms_from(item),
        producer=item["producer"],
        sequence=item["sequence"],
    )


def _parts(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries as transactions take them."""
    parts: list[list[Entry]] = []
    size = 0
    for entry in entries:
        size += len(entry.record)
        if not parts or len(parts[-1]) == _PAIRS or size > _TRANSACTION_BYTES:
            parts.append([])
            size = len(entry.record)
        parts[-1].append(entry)
    return parts


def _within(entries: Sequence[Entry], limit: int) -> Sequence[Entry]:
    """The first entries that have at most `limit` bytes together, at least one."""
    size = 0
    for count, entry in enumerate(entries):
        size += len(entry.record)
        if size > limit and count:
            return entries[:count]
    return entries
