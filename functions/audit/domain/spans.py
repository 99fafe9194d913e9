"""Ranges of time as callers ask for them, and the border between table and archive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from functions.audit.domain.errors import InvalidRangeError
from functions.audit.domain.models import Span

DEFAULT_DAYS = 30
"""How far back a query reaches that names no start."""

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""Nothing was accepted before, nor will be after: days around these can still be computed."""


@dataclass(frozen=True, slots=True)
class Range:
    """What a caller names; None is open."""

    start: datetime | None = None
    end: datetime | None = None

    def resolve(self, latest: datetime) -> Span:
        """The span meant: an end that is open or later than `latest` becomes `latest`.

        Raises `InvalidRangeError` when nothing is left of it.
        """
        end = latest if self.end is None else min(self.end, latest)
        start = EARLIEST if end <= EARLIEST else max(EARLIEST, self._start(end))
        if start >= end:
            raise InvalidRangeError("start_time must be before end_time, and in the past.")
        return Span(start, end)

    def _start(self, end: datetime) -> datetime:
        return end - timedelta(days=DEFAULT_DAYS) if self.start is None else self.start


def hot_boundary(now: datetime, hot_days: int) -> datetime:
    """Records from here on are read from the table, older ones from the archive.

    The table keeps them for a day more, so what passes the border while a caller pages is in both.
    """
    return now - timedelta(days=hot_days - 1)


def split(span: Span, boundary: datetime) -> tuple[Span | None, Span | None]:
    """The part of a span in the table, and the part in the archive."""
    hot = Span(max(span.start, boundary), span.end)
    cold = Span(span.start, min(span.end, boundary))
    return hot if hot.start < hot.end else None, cold if cold.start < cold.end else None
