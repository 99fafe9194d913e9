"""The transport of the SDKs' HTTP clients, on asyncio's own: their default one runs each piece of
an answer through five layers, which costs more CPU than all that is done with it.

HTTP/1.1, TLS as the SDKs have it, connections kept and used again; no proxies. Of the client's
timeouts the one for connecting counts: callers have timers for the rest.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import httpx2

from functions.ai.adapters.http1_reader import Head, Http1Reader, MalformedResponseError
from functions.ai.adapters.pieces import PIECES

if TYPE_CHECKING:
    import ssl

MAX_UNREAD_BYTES = 256 * 1024
"""Of an answer whose reader is slow; then its server has to wait."""

_STAGGER_SECONDS = 0.25

_Origin = tuple[str, str, int]


class HttpTransport(httpx2.AsyncBaseTransport):
    """Has a request sent on an idle connection, for which there is no limit, or on a new one."""

    def __init__(self, kept_seconds: float, ssl_context: ssl.SSLContext | None = None) -> None:
        self._kept_seconds = kept_seconds
        self._ssl_context = ssl_context or httpx2.create_ssl_context()
        self._ssl_context.set_alpn_protocols(["http/1.1"])
        self._idle: dict[_Origin, list[_Connection]] = {}
        self._closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See httpx2."""
        content = await _serialized(request)
        origin = _origin(request.url)
        connection = self._idle_one(origin) or await self._connected(origin, request)
        try:
            head = await connection.ask(content)
        except BaseException:
            connection.abort()
            raise

        def release() -> None:
            if connection.reusable and not self._closed:
                connection.idle_since = connection.loop.time()
                self._idle.setdefault(origin, []).append(connection)
            else:
                connection.abort()

        body = _Body(connection, release)
        return httpx2.Response(
            head.status,
            headers=list(head.fields),
            stream=body,
            extensions={
                "http_version": b"HTTP/1.1",
                "reason_phrase": head.reason,
                PIECES: body,
            },
        )

    async def aclose(self) -> None:
        """Ends the connections that are idle; the others end with their answers."""
        for connections in self._idle.values():
            while connections:
                connections.pop().abort()
        self._closed = True

    def _idle_one(self, origin: _Origin) -> _Connection | None:
        """The one that was used last: the others may grow old."""
        connections = self._idle.get(origin, [])
        while connections:
            connection = connections.pop()
            if connection.usable(self._kept_seconds):
                return connection
            connection.abort()
        return None

    async def _connected(self, origin: _Origin, request: httpx2.Request) -> _Connection:
        scheme, host, port = origin
        if trace := request.extensions.get("trace"):
            await trace("connection.connect_tcp.started", {"host": host, "port": port})
        loop = asyncio.get_running_loop()
        seconds = request.extensions.get("timeout", {}).get("connect")
        secure = scheme == "https"
        try:
            async with asyncio.timeout(seconds):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop),
                    host,
                    port,
                    ssl=self._ssl_context if secure else None,
                    happy_eyeballs_delay=_STAGGER_SECONDS,
                )
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(f"No connection within {seconds} s.") from error
        except OSError as error:
            raise httpx2.ConnectError(str(error)) from error
        return connection


class _Connection(asyncio.Protocol):
    """One connection: asked for one answer after another."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._reader = Http1Reader()
        self._pieces: list[bytes] = []
        self._unread = 0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def reusable(self) -> bool:
        """Whether its answer was read to the end, and another may be asked for."""
        return self._error is None and not self._pieces and self._reader.reusable and self.done

    @property
    def done(self) -> bool:
        """Whether its answer has come to the end."""
        return self._reader.done

    def usable(self, kept_seconds: float) -> bool:
        """Whether it is still alive, as far as this side can see.

        Something to read is a goodbye: it may lie there since before a freeze.
        """
        if self.loop is not asyncio.get_running_loop() or not self.reusable:
            return False
        if self.loop.time() - self.idle_since >= kept_seconds:
            return False
        return not _readable(self._open_transport())

    async def ask(self, content: bytes) -> Head:
        """Sends a request; returns the head of its answer."""
        self._reader = Http1Reader()
        self._open_transport().write(content)
        while self._reader.head is None:
            await self._news()
        return self._reader.head

    async def piece(self, deadline: float | None = None) -> bytes | None:
        """What has come of the body since the last time; None at its end. Raises `TimeoutError`."""
        while not self._pieces:
            if self.done:
                return None
            await self._news(deadline)
        pieces, self._pieces = self._pieces, []
        if self._unread > MAX_UNREAD_BYTES and self._transport is not None:
            self._transport.resume_reading()
        self._unread = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def abort(self) -> None:
        """Ends it at once."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is None:
            return
        # The transport does so in the loop's next round, for which a frozen function has no time.
        with suppress(OSError):
            self._transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        # Its event loop may be closed, which has no other way to say so.
        with suppress(RuntimeError):
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        connected = transport.get_extra_info("socket")
        if connected is not None:
            # A model may think for minutes: something between it and here may forget the two.
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            piece = self._reader.feed(data)
        except MalformedResponseError as error:
            self._fail(httpx2.RemoteProtocolError(str(error)))
            self.abort()
            return
        if piece:
            self._pieces.append(piece)
            before, self._unread = self._unread, self._unread + len(piece)
            if before <= MAX_UNREAD_BYTES < self._unread and self._transport is not None:
                self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self.done:
            # The answer is whole; the connection is not there any more.
            self._reader.reusable = False
            return
        try:
            self._reader.end()
        except MalformedResponseError as error:
            lost = httpx2.ReadError(str(exc)) if exc else httpx2.RemoteProtocolError(str(error))
            self._fail(lost)
        self._wake()

    async def _news(self, deadline: float | None = None) -> None:
        """Waits until something has come. Raises the error that ended the connection, and
        `TimeoutError`.
        """
        if self._error is not None:
            raise self._error
        self._waiter = self.loop.create_future()
        if deadline is not None:
            self._mind(deadline)
        try:
            await self._waiter
        finally:
            self._waiter = self._deadline = None

    def _mind(self, deadline: float) -> None:
        """Has the wait end then. A timer that is set for earlier is left: it sets itself anew, and
        none is made for a piece.
        """
        self._deadline = deadline
        if self._timer is None or self._timer.when() > deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_at(deadline, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._timer = None
        if self._deadline is None or self._waiter is None or self._waiter.done():
            return
        if self.loop.time() < self._deadline:
            self._mind(self._deadline)
        else:
            self._waiter.set_exception(TimeoutError())

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _open_transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise httpx2.WriteError("It is not connected.")
        return self._transport


class _Body(httpx2.AsyncByteStream):
    """The body of an answer, piece by piece as it comes; also `pieces.Pieces`."""

    def __init__(self, connection: _Connection, release: Callable[[], None]) -> None:
        self._connection = connection
        self._release: Callable[[], None] | None = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._connection.piece()) is not None:
            yield piece

    async def next(self, deadline: float) -> bytes | None:
        """See `pieces.Pieces`."""
        return await self._connection.piece(deadline)

    async def aclose(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()


async def _serialized(request: httpx2.Request) -> bytes:
    """The request as bytes. Raises `httpx2.LocalProtocolError`."""
    content = await request.aread()
    if content and "content-length" not in request.headers:
        raise httpx2.LocalProtocolError("The body's length is not known.")
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % field for field in request.headers.raw]
    if any(set(line) & _FORBIDDEN for line in lines):
        raise httpx2.LocalProtocolError("A header field has a control character.")
    return b"\r\n".join([*lines, b"", content])


_FORBIDDEN = frozenset(b"\r\n\x00")


def _origin(url: httpx2.URL) -> _Origin:
    if url.scheme not in {"http", "https"}:
        raise httpx2.UnsupportedProtocol(f"Not a scheme for a provider: {url.scheme}")
    port = url.port or (443 if url.scheme == "https" else 80)
    return url.scheme, url.raw_host.decode("ascii"), port


def _readable(transport: asyncio.Transport) -> bool:
    if transport.is_closing():
        return True
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), select.POLLIN)
    return bool(poll.poll(0))
