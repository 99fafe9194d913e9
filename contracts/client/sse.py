"""Reads the data lines of a server-sent event stream."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator

MAX_LINE_BYTES = 2_000_000
"""A longer line is no event of ours: an answer that is replayed comes as one line, of 300,000
bytes at most, and each byte may be written as \\uXXXX."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class MalformedStreamError(ValueError):
    """Not an event stream: a line is too long or no UTF-8."""


async def data_lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[str]:
    """The value of each complete `data:` line, as soon as it is complete.

    v1 has one JSON document on each data line, so lines are not joined to events. Comments and
    other fields are skipped. Raises `MalformedStreamError`.
    """
    rest = b""
    at_start = True
    async for chunk in chunks:
        rest += chunk
        # A carriage return at the end may be half of a line end whose other half is on its way.
        complete = len(rest) - rest.endswith(b"\r")
        *lines, tail = _LINE_END.split(rest[:complete])
        rest = tail + rest[complete:]
        if len(rest) > MAX_LINE_BYTES:
            raise MalformedStreamError("A line of the stream is too long")
        for line in lines:
            value = _data(line.removeprefix(_BYTE_ORDER_MARK) if at_start else line)
            at_start = False
            if value is not None:
                yield value


def _data(line: bytes) -> str | None:
    name, _, value = line.partition(b":")
    if name != b"data":
        return None
    try:
        return value.removeprefix(b" ").decode()
    except UnicodeDecodeError:
        raise MalformedStreamError("A line of the stream is not UTF-8") from None
