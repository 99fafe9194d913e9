"""Server-sent events out of bytes as they come, by the WHATWG's rules for event streams.

Lines are split before the text is decoded: a character that came in two pieces is whole again, and
what is no line break to the rules (U+2028, say) breaks none.
"""

from __future__ import annotations

from functions.ai.domain.errors import ProviderError

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""What one event may hold until it is complete: far more than a provider's largest."""

_BOM = b"\xef\xbb\xbf"
_CR = 13

Event = tuple[str, str]
"""The event's type ("message" where the stream names none) and its data."""


class SseReader:
    """Reads one stream. `feed` it every piece; what is incomplete at the end is no event."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._begun = False
        self._after_cr = False
        self._tail = bytearray()
        self._type = b""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, piece: bytes) -> list[Event]:
        """The events that `piece` completes. Raises `ProviderError` when one is too large."""
        if self._after_cr or not self._begun:
            piece = self._continued(piece)
        if not piece:
            return []
        lines = piece.splitlines()
        complete = piece[-1] in b"\r\n"
        self._after_cr = piece[-1] == _CR
        if self._tail:
            self._tail += lines[0]
            if complete or len(lines) > 1:
                lines[0] = bytes(self._tail)
                self._tail.clear()
            else:
                lines = []
        if lines and not complete:
            self._tail += lines.pop()
        events = self._read(lines)
        if self._data_bytes + len(self._tail) > self._max:
            raise ProviderError("An event of its stream is too large.")
        return events

    def _continued(self, piece: bytes) -> bytes:
        """Without the line feed of a CR LF in two pieces, or the byte order mark of a beginning."""
        if self._after_cr:
            self._after_cr = not piece
            return piece.removeprefix(b"\n")
        piece = bytes(self._tail) + piece
        self._tail.clear()
        if len(piece) < len(_BOM) and _BOM.startswith(piece):
            self._tail += piece
            return b""
        self._begun = True
        return piece.removeprefix(_BOM)

    def _read(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for line in lines:
            if not line:
                if self._data:
                    data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                    kind = self._type.decode("utf-8", "replace") if self._type else "message"
                    events.append((kind, data.decode("utf-8", "replace")))
                    self._data = []
                self._type = b""
                self._data_bytes = 0
                continue
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
                self._data_bytes += len(line)
            elif name == b"event":
                self._type = value.removeprefix(b" ")
        return events
