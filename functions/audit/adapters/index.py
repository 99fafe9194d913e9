"""Which records a filter finds, from the most selective index of the record table.

An index holds what filters are evaluated on, so that only records which are answered are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from functions.audit.adapters import keys
from functions.audit.domain.models import Filter, Position, Span
from servicekit.clock import to_text
from servicekit.dynamodb import DynamoTable, Item, Value

_MAX_QUERIES = 150
"""Of one search: then it says where it came to, and the next page goes on from there."""

_MOST_DAYS_AT_ONCE = 16
_LEAST_ITEMS = 16
_MOST_ITEMS = 2_000
"""Of one filtered read: about what fits into the 1 MB that a query reads."""

_MAX_DOUBLINGS = 10

_ATTRIBUTES = (
    "event_type",
    "user_id",
    "resource",
    "action",
    "request_id",
    "session_id",
    "severity",
)


@dataclass(frozen=True, slots=True)
class IndexPage:
    """Places of records, newest first; what is older than `next_before` was not looked at."""

    positions: Sequence[Position]
    next_before: Position | None


class IndexReader:
    """Searches over the indexes of one record table."""

    def __init__(self, records: DynamoTable) -> None:
        self._records = records

    async def find(
        self, wanted: Filter, span: Span, before: Position | None, limit: int
    ) -> IndexPage:
        """Up to `limit` places of records in `span`, older than `before`."""
        upper = keys.upper_bound(span.end, before)
        lower = to_text(span.start)
        if upper <= lower:
            return IndexPage([], None)
        kind, value = _choose(wanted)
        search = _Search(
            self._records, keys.INDEXES[kind], lower, upper, _Narrowing.of(wanted, kind), limit
        )
        if kind not in keys.BY_DAY:
            return await search.one(keys.partition(kind, value))
        newest = keys.position_of(f"{upper.partition('#')[0]}#").accepted_at
        return await search.by_day(kind, value, newest, span.start)


def _choose(wanted: Filter) -> tuple[str, str]:
    """The index with the fewest records to look at, as far as can be told from its kind."""
    prefix = wanted.resource_prefix
    root = keys.root_of(prefix) if prefix and keys.has_whole_root(prefix) else None
    candidates = (
        (keys.REQUEST, wanted.request_id),
        (keys.SESSION, wanted.session_id),
        (keys.RESOURCE, wanted.resource),
        (keys.USER, None if wanted.user_id is None else str(wanted.user_id)),
        (keys.ROOT, root),
        (keys.ACTION, wanted.action),
        (keys.SEVERITY, wanted.severity),
        (keys.TYPE, wanted.event_type),
    )
    return next(((kind, value) for kind, value in candidates if value is not None), (keys.TIME, ""))


@dataclass(frozen=True, slots=True)
class _Narrowing:
    """What the index's partition does not say already, as a filter expression."""

    expression: str | None
    names: Mapping[str, str]
    values: Mapping[str, Value]

    @classmethod
    def of(cls, wanted: Filter, kind: str) -> _Narrowing:
        told = {
            keys.REQUEST: "request_id",
            keys.SESSION: "session_id",
            keys.RESOURCE: "resource",
            keys.USER: "user_id",
            keys.SEVERITY: "severity",
            keys.ACTION: "action",
            keys.TYPE: "event_type",
        }.get(kind)
        asked = {
            name: value
            for name in _ATTRIBUTES
            if name != told and (value := getattr(wanted, name)) is not None
        }
        parts = [f"#{name} = :{name}" for name in asked]
        names = {f"#{name}": name for name in asked}
        values: dict[str, Value] = {f":{name}": value for name, value in asked.items()}
        if wanted.resource_prefix is not None:
            parts.append("begins_with(#resource, :prefix)")
            names["#resource"] = "resource"
            values[":prefix"] = wanted.resource_prefix
        return cls(" AND ".join(parts) or None, names, values)


@dataclass(slots=True)
class _Partition:
    """One partition, read from its newest entry on as far as it is needed."""

    pk: str
    found: list[Position] = field(default_factory=list)
    start: Item | None = None
    exhausted: bool = False
    taken: int = 0
    pages: int = 0

    @property
    def waiting(self) -> bool:
        return self.taken == len(self.found) and not self.exhausted


class _Search:
    """One search: its bounds, its narrowing, and how many queries it has left."""

    def __init__(
        self,
        records: DynamoTable,
        index: str,
        lower: str,
        upper: str,
        narrowing: _Narrowing,
        limit: int,
    ) -> None:
        self._records = records
        self._index = index
        self._lower = lower
        self._upper = upper
        self._narrowing = narrowing
        self._limit = limit
        self._queries = 0

    async def one(self, pk: str) -> IndexPage:
        """The newest entries of one partition."""
        partition = _Partition(pk)
        while (
            not partition.exhausted
            and len(partition.found) <= self._limit
            and self._queries < _MAX_QUERIES
        ):
            await self._read(partition, self._limit + 1)
        found = partition.found[: self._limit]
        if len(partition.found) > self._limit:
            return IndexPage(found, found[-1])
        return IndexPage(found, None if partition.exhausted else _came_to(partition, self._index))

    async def by_day(self, kind: str, value: str, newest: datetime, oldest: datetime) -> IndexPage:
        """The newest entries of partitions that are split by day and shard.

        Days are read a few at once, more with every step: of a busy log the first one answers, and
        of a quiet one many are empty.
        """
        found: list[Position] = []
        days = keys.days_back(newest, oldest)
        step = 1
        while chunk := list(islice(days, step)):
            shards = [
                [_Partition(pk) for pk in keys.day_partitions(kind, value, day)] for day in chunk
            ]
            size = max((self._limit - len(found)) // keys.SHARDS, 0) + _LEAST_ITEMS
            await asyncio.gather(*(self._read(p, size) for day in shards for p in day))
            for day in shards:
                found += await self._merged(day, self._limit + 1 - len(found), size)
                if len(found) > self._limit:
                    page = found[: self._limit]
                    return IndexPage(page, page[-1])
                if left := [partition for partition in day if partition.waiting]:
                    # Out of queries: all that is newer is known.
                    return IndexPage(found, max(_came_to(p, self._index) for p in left))
            if self._queries >= _MAX_QUERIES:
                last = chunk[-1]
                return IndexPage(found, Position(last, "") if last > oldest else None)
            step = min(step * 2, _MOST_DAYS_AT_ONCE)
        return IndexPage(found, None)

    async def _merged(
        self, partitions: Sequence[_Partition], most: int, size: int
    ) -> list[Position]:
        """Up to `most` of the newest entries of a day's shards, fewer when queries have run out."""
        merged: list[Position] = []
        while len(merged) < most:
            for partition in partitions:
                while partition.waiting and self._queries < _MAX_QUERIES:
                    await self._read(partition, size)
            if any(partition.waiting for partition in partitions):
                break
            rest = [p.found[p.taken] for p in partitions if p.taken < len(p.found)]
            if not rest:
                break
            newest = max(rest)
            for partition in partitions:
                if partition.taken < len(partition.found):
                    partition.taken += partition.found[partition.taken] == newest
            merged.append(newest)
        return merged

    async def _read(self, partition: _Partition, size: int) -> None:
        """One more page of a partition."""
        self._queries += 1
        narrowing = self._narrowing
        page = await self._records.query(
            f"{self._index}pk = :pk AND {self._index}sk BETWEEN :lower AND :upper",
            {
                ":pk": partition.pk,
                ":lower": self._lower,
                ":upper": keys.just_below(self._upper),
                **narrowing.values,
            },
            index=self._index,
            forward=False,
            # DynamoDB counts before it filters: where little passes, more is read each time.
            limit=size
            if narrowing.expression is None
            else min(size << min(partition.pages, _MAX_DOUBLINGS), _MOST_ITEMS),
            start=partition.start,
            filter_by=narrowing.expression,
            names=narrowing.names,
        )
        partition.found += [keys.position_of(str(i[f"{self._index}sk"])) for i in page.items]
        partition.start = page.last_key
        partition.pages += 1
        partition.exhausted = page.last_key is None


def _came_to(partition: _Partition, index: str) -> Position:
    """The last place that was looked at of a partition that goes on."""
    if partition.start is None:
        raise ValueError("the partition was read to its end")
    return keys.position_of(str(partition.start[f"{index}sk"]))
