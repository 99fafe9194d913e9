"""Identifiers: sortable strings, and integers drawn from a shared counter in blocks."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Protocol
from uuid import UUID

from servicekit.errors import AppError

MAX_INTEGER_ID = 2**31 - 1
"""The legacy columns are 32-bit and signed."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_ulid() -> str:
    """A ULID: 26 characters, sortable by its millisecond of creation."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -5, -5))


def new_uuid7() -> str:
    """A UUID of version 7 (RFC 9562), sortable by its millisecond of creation."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))


class IdsExhaustedError(AppError):
    """The counter reached the last integer id; needs a person."""

    code = "ids_exhausted"
    status = 503
    title = "No integer ids are left"


class Counter(Protocol):
    """A durable counter shared by all processes."""

    async def draw(self, name: str, size: int) -> int:
        """Reserves `size` consecutive ids and returns the first.

        Raises `IdsExhaustedError` when they would pass `MAX_INTEGER_ID`.
        """


class IntegerIds:
    """Hands out integer ids; one write of the counter serves a whole block.

    Ids are unique, not consecutive: what a process has left of its block dies with it. Blocks of
    `BLOCK_SIZE` let 21 million processes start before the ids run out.
    """

    BLOCK_SIZE = 100

    def __init__(self, counter: Counter, name: str) -> None:
        self._counter = counter
        self._name = name
        self._lock = asyncio.Lock()
        self._next = 0
        self._end = 0

    async def draw(self) -> int:
        """The next id of this process."""
        async with self._lock:
            if self._next >= self._end:
                self._next = await self._counter.draw(self._name, self.BLOCK_SIZE)
                self._end = self._next + self.BLOCK_SIZE
            self._next += 1
            return self._next - 1
