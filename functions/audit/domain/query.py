"""One query over table and archive: the caller does not choose where records are read from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from contracts.audit.v1 import EVENT_ID_PATTERN
from functions.audit.domain.errors import EventNotFoundError, RangeTooWideError
from functions.audit.domain.exports import ExportRequest, ExportService
from functions.audit.domain.lookup import RecordLookup
from functions.audit.domain.models import (
    Export,
    Filter,
    Found,
    FoundPage,
    JsonObject,
    Position,
    Span,
)
from functions.audit.domain.pages import fitting
from functions.audit.domain.personal import RecordOpener
from functions.audit.domain.ports import ColdStore, RecordReader
from functions.audit.domain.spans import EARLIEST, Range, hot_boundary, split
from servicekit.clock import Clock, to_text
from servicekit.paging import InvalidCursorError, decode_cursor, encode_cursor

CLOCK_SKEW = timedelta(seconds=5)
"""Records accepted a little ahead of our clock are found too: each function has a clock."""

_RECENT_READS = 5
"""Pages read for the recent events: each covers many days of a quiet log."""

_EVENT_ID = re.compile(EVENT_ID_PATTERN)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Query:
    """What a caller asks for; the same for each page."""

    filter: Filter
    range: Range

    @property
    def text(self) -> str:
        """What a cursor is bound to."""
        ends = (self.range.start, self.range.end)
        return json.dumps([asdict(self.filter), *(end and to_text(end) for end in ends)])


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events newest first; it may hold fewer than asked for while there is a next page."""

    events: Sequence[JsonObject]
    next_cursor: str | None


class QueryService:
    """Finds events by what they are about, or by their id."""

    def __init__(
        self,
        records: RecordReader,
        cold: ColdStore,
        exports: ExportService,
        lookup: RecordLookup,
        opener: RecordOpener,
        clock: Clock,
        hot_days: int,
    ) -> None:
        self._records = records
        self._cold = cold
        self._exports = exports
        self._lookup = lookup
        self._opener = opener
        self._clock = clock
        self._hot_days = hot_days

    async def find(
        self, query: Query, limit: int, cursor: str | None, principal: str
    ) -> EventPage | Export:
        """A page, or the export that takes the place of a query over too much.

        Raises `InvalidRangeError`, `InvalidCursorError` and `ArchiveUnavailableError`.
        """
        if cursor is None:
            span, before = query.range.resolve(self._clock() + CLOCK_SKEW), None
        else:
            # Of a function whose clock is as far ahead as clocks are.
            latest = self._clock() + 2 * CLOCK_SKEW
            span, before = _read_place(decode_cursor(cursor, query.text), latest)
        try:
            page = fitting(await self._page(query.filter, span, before, limit))
        except RangeTooWideError:
            # No header holds a space, so this key is nobody's; who asks again gets the same one.
            key = f"query {self._clock():%Y-%m-%dT%H} {query.text}"
            return await self._exports.create(
                ExportRequest(query.filter, query.range, principal), key
            )
        next_cursor = None
        if page.next_before is not None:
            next_cursor = encode_cursor(_place(span, page.next_before), query.text)
        return EventPage(await self._open(page.items), next_cursor)

    async def recent(self, limit: int) -> Sequence[JsonObject]:
        """The newest events of those in the table."""
        now = self._clock()
        span = Span(hot_boundary(now, self._hot_days), now + CLOCK_SKEW)
        found: list[Found] = []
        before: Position | None = None
        for _ in range(_RECENT_READS):
            page = await self._records.find(Filter(), span, before, limit - len(found))
            found += page.items
            before = page.next_before
            if before is None or len(found) == limit:
                break
        return await self._open(fitting(FoundPage(found, None)).items)

    async def get(self, event_id: str) -> JsonObject:
        """One event. Raises `EventNotFoundError` and `ArchiveUnavailableError`."""
        record = await self._lookup.find(event_id)
        if record is None:
            raise EventNotFoundError(
                f"An event older than {self._hot_days} days whose id was not made here is found by"
                " time alone."
            )
        (event,) = await self._opener.open_records([record])
        return event

    async def _page(
        self, wanted: Filter, span: Span, before: Position | None, limit: int
    ) -> FoundPage:
        """One page of one of the two; the archive is asked when the table has nothing more."""
        boundary = hot_boundary(self._clock(), self._hot_days)
        hot, cold = split(span, boundary)
        if hot is not None and (before is None or before.accepted_at >= hot.start):
            page = await self._records.find(wanted, hot, before, limit)
            if page.next_before is not None or cold is None:
                return page
            if page.items:
                # What is at hand is not kept waiting for the archive.
                return FoundPage(page.items, Position(boundary, ""))
        if cold is None:
            return FoundPage([], None)
        return await self._cold.find(wanted, cold, before, limit)

    async def _open(self, found: Sequence[Found]) -> Sequence[JsonObject]:
        return await self._opener.open_records([item.record for item in found])


def _place(span: Span, before: Position) -> str:
    """Where a page ended, and the span that was meant by open ends."""
    moments = (span.start, span.end, before.accepted_at)
    micros = ((moment - _EPOCH) // _MICROSECOND for moment in moments)
    return ",".join([*map(str, micros), before.event_id])


def _read_place(place: str, latest: datetime) -> tuple[Span, Position]:
    """The inverse of `_place`. Raises `InvalidCursorError`: anyone can make a cursor."""
    try:
        *numbers, event_id = place.split(",", 3)
        start, end, at = (_EPOCH + int(number) * _MICROSECOND for number in numbers)
    except (ValueError, OverflowError):
        raise InvalidCursorError from None
    if not EARLIEST <= start <= at <= end <= latest or start == end:
        raise InvalidCursorError
    if event_id and not _EVENT_ID.fullmatch(event_id):
        raise InvalidCursorError
    return Span(start, end), Position(at, event_id)
