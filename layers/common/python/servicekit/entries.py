"""Calls that take several entries and answer for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from servicekit.backoff import full_jitter

MAX_ENTRIES = 10
"""Of one SendMessageBatch or PutEvents."""

ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.2

E = TypeVar("E")


async def put_all(entries: Sequence[E], put: Callable[[Sequence[E]], Sequence[int]]) -> int:
    """Puts all entries, `MAX_ENTRIES` at a time, and those again that were refused.

    `put` runs in a thread and returns the positions of those that were refused. Returns how many
    are refused after `ATTEMPTS`.
    """
    refused = 0
    for start in range(0, len(entries), MAX_ENTRIES):
        refused += await _put(entries[start : start + MAX_ENTRIES], put)
    return refused


async def _put(entries: Sequence[E], put: Callable[[Sequence[E]], Sequence[int]]) -> int:
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(full_jitter(attempt - 1, _FIRST_PAUSE_SECONDS))
        positions = await asyncio.to_thread(put, entries)
        entries = [entries[position] for position in positions]
        if not entries:
            break
    return len(entries)
