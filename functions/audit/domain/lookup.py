"""A record by its id, from the table or from the archive."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from functions.audit.domain.errors import ArchiveUnavailableError, RangeTooWideError
from functions.audit.domain.models import Span
from functions.audit.domain.ports import ColdStore, RecordReader
from functions.audit.domain.spans import LATEST, hot_boundary, split
from servicekit.clock import Clock

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_ULID_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID_TIME_LENGTH = 10
_SEARCHED_BEFORE = timedelta(minutes=5)
_SEARCHED_AFTER = timedelta(days=1)
"""Around the time in an id of our own; it is made when the event comes in, or a little before."""


class RecordLookup:
    """Finds the canonical bytes of a record.

    One that has left the table is found in the archive when its id tells its time, as those do that
    are made here (ULIDs): without a time, all of the archive would have to be read.
    """

    def __init__(self, records: RecordReader, cold: ColdStore, clock: Clock, hot_days: int) -> None:
        self._records = records
        self._cold = cold
        self._clock = clock
        self._hot_days = hot_days

    async def find(self, event_id: str) -> bytes | None:
        """The record, None if there is none to be found. Raises `ArchiveUnavailableError`."""
        entry = await self._records.get(event_id)
        if entry is not None:
            return entry.record
        made_at = _made_at(event_id)
        if made_at is None:
            return None
        searched = Span(made_at - _SEARCHED_BEFORE, made_at + _SEARCHED_AFTER)
        _, cold = split(searched, hot_boundary(self._clock(), self._hot_days))
        if cold is None:
            return None
        try:
            found = await self._cold.get(event_id, cold)
        except RangeTooWideError:
            raise ArchiveUnavailableError(
                "More was recorded around that time than can be searched by id: find it by time."
            ) from None
        return found.record if found else None


def _made_at(event_id: str) -> datetime | None:
    """The time in a ULID, None in any other id."""
    if not _ULID.fullmatch(event_id):
        return None
    milliseconds = 0
    for digit in event_id[:_ULID_TIME_LENGTH]:
        milliseconds = milliseconds * 32 + _ULID_DIGITS.index(digit)
    try:
        made_at = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
    return made_at if made_at < LATEST else None
