"""An HTTP client that costs little beside what it measures: sockets kept alive, answers looked at
only for their first text and their end.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

_HEAD_END = b"\r\n\r\n"
_BODY_END = b"\r\n0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """A request, ready to send; `mark` stands in the first text of its answer."""

    host: str
    port: int
    content: bytes
    mark: bytes

    @classmethod
    def post(cls, url: str, body: Mapping[str, Any], headers: Mapping[str, str], mark: str) -> Self:
        """A JSON body to that URL."""
        parts = urlsplit(url)
        sent = json.dumps(body).encode()
        lines = [
            f"POST {parts.path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Content-Type: application/json",
            f"Content-Length: {len(sent)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        head = "\r\n".join(lines).encode() + _HEAD_END
        return cls(str(parts.hostname), int(parts.port or 80), head + sent, mark.encode())


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds from sending a request to the first text of its answer, and to its end."""

    first: float
    whole: float


class Connection(asyncio.Protocol):
    """One connection, for one call after another."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._mark = b""
        self._received = bytearray()
        self._looked = 0
        self._end = 0
        self._sent_at = 0.0
        self._first: float | None = None
        self._answer: asyncio.Future[Taken] | None = None

    async def call(self, call: Call) -> Taken:
        """Raises `RuntimeError` for an answer that is no success, or has no text."""
        if self._transport is None or self._transport.is_closing():
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: self, call.host, call.port)
        self._mark = call.mark
        self._received.clear()
        self._looked = self._end = 0
        self._first = None
        self._answer = asyncio.get_running_loop().create_future()
        self._sent_at = time.perf_counter()
        if self._transport is not None:
            self._transport.write(call.content)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await self._answer

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(RuntimeError(f"The answer broke off: {exc}"))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        now = time.perf_counter() - self._sent_at
        received = self._received
        received += data
        if self._first is None:
            # The mark may have come in two pieces.
            if received.find(self._mark, max(0, self._looked - len(self._mark))) >= 0:
                self._first = now
            self._looked = len(received)
        if self._answer is not None and self._complete():
            if received[9:12] != b"200" or self._first is None:
                self._answer.set_exception(RuntimeError(received[:2000].decode(errors="replace")))
            else:
                self._answer.set_result(Taken(self._first, now))

    def _complete(self) -> bool:
        if not self._end:
            head = self._received.find(_HEAD_END)
            if head < 0:
                return False
            length = _LENGTH.search(self._received, 0, head)
            self._end = head + len(_HEAD_END) + int(length[1]) if length else -1
        if self._end < 0:
            return self._received.endswith(_BODY_END)
        return len(self._received) >= self._end


async def in_turn(calls: Mapping[str, Call], times: int) -> dict[str, list[Taken]]:
    """Each call so many times, one at a time and alternating: a busy machine slows all alike."""
    connections = {name: Connection() for name in calls}
    taken: dict[str, list[Taken]] = {name: [] for name in calls}
    for _ in range(times):
        for name, call in calls.items():
            taken[name].append(await connections[name].call(call))
    for connection in connections.values():
        connection.close()
    return taken


async def at_once(call: Call, times: int, connections: int) -> float:
    """The call so many times in all, by so many connections; seconds that it took."""
    left = iter(range(times))

    async def work() -> None:
        connection = Connection()
        for _ in left:
            await connection.call(call)
        connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    return time.perf_counter() - started
