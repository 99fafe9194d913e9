"""How much of a page one answer of a function can carry."""

from __future__ import annotations

from collections.abc import Sequence

from functions.audit.domain.models import Found, FoundPage

MAX_ANSWER_BYTES = 4_000_000
"""Of the records in one answer, as they travel; a function's whole answer has 6 MB at most
(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""


def fitting(page: FoundPage, limit: int = MAX_ANSWER_BYTES) -> FoundPage:
    """The page, cut where its records exceed `limit` bytes; its first record stays in any case."""
    kept = _count(page.items, limit)
    if kept == len(page.items):
        return page
    return FoundPage(page.items[:kept], page.items[kept - 1].position)


def _count(items: Sequence[Found], limit: int) -> int:
    size = 0
    for count, found in enumerate(items):
        size += _travelling_bytes(found.record)
        if size > limit and count:
            return count
    return len(items)


def _travelling_bytes(record: bytes) -> int:
    # A function's answer is text within JSON: its quotes and backslashes take two bytes each.
    return len(record) + record.count(b'"') + record.count(b"\\")
