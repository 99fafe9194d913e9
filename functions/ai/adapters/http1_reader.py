"""One HTTP/1.1 response out of bytes as they come (RFC 9112): its head, then its body.

What two readers could understand differently is refused: the next answer on the connection would
be another's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_HEAD_BYTES = 64 * 1024
MAX_LINE_BYTES = 8 * 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00\r\n]*)?")
_END = b"\r\n"
_HEAD_END = b"\r\n\r\n"
_INTERIM = 200
_BODILESS = frozenset({204, 304})


class MalformedResponseError(Exception):
    """The bytes are no response, or end within one."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and header fields, as they came."""

    status: int
    reason: bytes
    fields: Sequence[tuple[bytes, bytes]]


class Http1Reader:
    """`feed` it what comes, and `end` it when no more does.

    Once `done` the body is complete, and `reusable` says whether another request may follow.
    """

    def __init__(self) -> None:
        self.head: Head | None = None
        self.done = False
        self.reusable = False
        self._held = b""
        # What is left of the body, or of its chunk; None up to the connection's end.
        self._left: int | None = 0
        self._chunked = False
        self._place = "size"

    def feed(self, data: bytes) -> bytes:
        """What the data hold of the body. Raises `MalformedResponseError`."""
        if self._held:
            data, self._held = self._held + data, b""
        if self.head is None:
            data = self._read_head(data)
            if self.head is None:
                return b""
        if self.done:
            body = b""
        elif self._chunked:
            body, data = self._read_chunks(data)
        elif self._left is None:
            body, data = data, b""
        else:
            body, data = data[: self._left], data[self._left :]
            self._left -= len(body)
            self.done = not self._left
        if self.done and data:
            # Nobody asked for it.
            self.reusable = False
        return body

    def end(self) -> None:
        """The connection has ended. Raises `MalformedResponseError` if the response has not."""
        self.reusable = False
        if self.head is None:
            raise MalformedResponseError("The connection ended without a response.")
        if self._left is None:
            self.done = True
        if not self.done:
            raise MalformedResponseError("The connection ended within a response.")

    def _read_head(self, data: bytes) -> bytes:
        """Returns what is behind the head."""
        while True:
            head, end, rest = data.partition(_HEAD_END)
            if len(head) > MAX_HEAD_BYTES:
                raise MalformedResponseError("The head is too large.")
            if not end:
                self._held = data
                return b""
            first, *lines = head.split(_END)
            status = _STATUS_LINE.fullmatch(first)
            if status is None:
                raise MalformedResponseError("The first line is none of a response.")
            if int(status[2]) >= _INTERIM:
                break
            data = rest
        self.head = Head(int(status[2]), status[3] or b"", [_field(line) for line in lines])
        self._begin_body(self.head, keeps=status[1] == b"1")
        return rest

    def _begin_body(self, head: Head, *, keeps: bool) -> None:
        codings = _values(head, b"transfer-encoding")
        lengths = set(_values(head, b"content-length"))
        options = {o.strip() for value in _values(head, b"connection") for o in value.split(b",")}
        self.reusable = keeps and b"close" not in options
        if codings and (codings != [b"chunked"] or lengths):
            raise MalformedResponseError("The body's length is not clear.")
        if head.status in _BODILESS:
            self.done = True
        elif codings:
            self._chunked = True
        elif lengths:
            length = lengths.pop()
            if lengths or not length.isdigit():
                raise MalformedResponseError("The body's length is not clear.")
            self._left = int(length)
            self.done = not self._left
        else:
            self._left = None
            self.reusable = False

    def _read_chunks(self, data: bytes) -> tuple[bytes, bytes]:
        """The chunks' content, and what is behind the last chunk."""
        parts: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                part = data[at : at + self._left]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                continue
            end = data.find(_END, at)
            if end < 0:
                if len(data) - at > MAX_LINE_BYTES:
                    raise MalformedResponseError("A line is too long.")
                self._held = data[at:]
                return b"".join(parts), b""
            self._read_line(data[at:end])
            at = end + len(_END)
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return body, data[at:]

    def _read_line(self, line: bytes) -> None:
        """A line between chunks: the end of one, the size of the next, or a trailer."""
        if self._place == "size":
            size = _SIZE.fullmatch(line)
            if size is None:
                raise MalformedResponseError("A chunk has no size.")
            self._left = int(size[1], 16)
            self._place = "end" if self._left else "trailer"
        elif self._place == "end":
            if line:
                raise MalformedResponseError("A chunk is longer than it says.")
            self._place = "size"
        elif line:
            _field(line)
        else:
            self.done = True


def _field(line: bytes) -> tuple[bytes, bytes]:
    field = _FIELD.fullmatch(line)
    if field is None:
        raise MalformedResponseError("A line is no header field.")
    return field[1], field[2]


def _values(head: Head, name: bytes) -> list[bytes]:
    return [value.lower() for field, value in head.fields if field.lower() == name]
