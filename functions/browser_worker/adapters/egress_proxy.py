"""The egress wall on loopback: the HTTP proxy that all traffic of the browser goes through.

`CONNECT` (RFC 9110, section 9.3.6) carries TLS and WebSockets, requests in absolute form (RFC 9112,
section 3.2.2) plain HTTP. A name is looked up once; the connection goes to the addresses that the
wall has judged, and nothing else is resolved.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11

from functions.browser_worker.domain.egress import DeniedError, Wall

CONNECT_SECONDS = 10.0
LOOK_UP_SECONDS = 5.0
IDLE_SECONDS = 60.0
"""Between bytes of a request or an answer in plain HTTP; a tunnel may be silent for ever."""

REFUSED_HEADER = "x-egress-wall"
"""Of the wall's own refusals."""

_CHUNK = 64 * 1024
_MAX_LOOKUPS = 16
_HTTP_PORT = 80
# Of one connection, not of the message (RFC 9110, section 7.6.1); Expect is answered here.
_HOP = frozenset(
    {
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_logger = logging.getLogger(__name__)

Headers = Iterable[tuple[bytes, bytes]]
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name. Raises OSError."""


class _UnreachableError(Exception):
    """The host has no address, does not answer, or breaks off."""


@dataclass(frozen=True, slots=True)
class _Stream:
    """One connection's two ends."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def close(self) -> None:
        self.writer.close()


class EgressProxy:
    """Serves on a port of loopback between `start` and `close`."""

    def __init__(self, wall: Wall, resolve: Resolve | None = None) -> None:
        self._wall = wall
        self._resolve = resolve or self._look_up
        self._resolvers = ThreadPoolExecutor(_MAX_LOOKUPS, thread_name_prefix="egress")
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Begins to serve; the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Ends with whatever is under way."""
        if self._server is not None:
            self._server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._serving.add(task)
        try:
            await _Exchange(self, _Stream(reader, writer)).serve()
        except (OSError, TimeoutError, h11.ProtocolError, _UnreachableError, DeniedError):
            # The browser sees its connection end, as it would without a proxy.
            _logger.debug("a connection of the browser ended", exc_info=True)
        finally:
            writer.close()
            self._serving.discard(task)

    async def open(self, host: str, port: int) -> _Stream:
        """A connection to a judged address. Raises `DeniedError` and `_UnreachableError`."""
        self._wall.admit(host, port)
        try:
            found = await asyncio.wait_for(self._resolve(host, port), LOOK_UP_SECONDS)
        except (OSError, UnicodeError):
            raise _UnreachableError("The host has no address.") from None
        if not found:
            raise _UnreachableError("The host has no address.")
        for address in self._wall.choose(host, port, found):
            with suppress(OSError):
                opening = asyncio.open_connection(address, port, limit=_CHUNK)
                return _Stream(*await asyncio.wait_for(opening, CONNECT_SECONDS))
        raise _UnreachableError("The host does not answer.")

    def count(self, host: str, port: int, size: int) -> None:
        """See `Wall.count`."""
        self._wall.count(host, port, size)

    async def _look_up(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._resolvers, _addresses_of, host, port)


class _Exchange:
    """What the browser does with one connection."""

    def __init__(self, proxy: EgressProxy, browser: _Stream) -> None:
        self._proxy = proxy
        self._browser = browser
        self._http = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        """Requests one after another, or a tunnel."""
        while True:
            event = await _next(self._http, self._browser)
            if not isinstance(event, h11.Request):
                return
            try:
                if event.method == b"CONNECT":
                    await self._tunnel(event)
                    return
                await self._forward(event)
            except DeniedError as error:
                text = f"The egress wall refuses this: {error.denial.rule}."
                await self._refuse(403, text, (REFUSED_HEADER, error.denial.rule))
                return
            except _UnreachableError as error:
                await self._refuse(502, str(error))
                return
            if {self._http.our_state, self._http.their_state} != {h11.DONE}:
                return
            self._http.start_next_cycle()

    async def _tunnel(self, request: h11.Request) -> None:
        host, port = _authority(request.target.decode("ascii"))
        origin = await self._proxy.open(host, port)
        try:
            await _send(self._http, self._browser, h11.Response(status_code=200, headers=[]))
            sent, _ = self._http.trailing_data
            origin.writer.write(sent)

            def count(size: int) -> None:
                self._proxy.count(host, port, size)

            count(len(sent))
            ways = [
                asyncio.ensure_future(_pipe(self._browser, origin, count)),
                asyncio.ensure_future(_pipe(origin, self._browser, count)),
            ]
            try:
                await asyncio.gather(*ways)
            finally:
                for way in ways:
                    way.cancel()
        finally:
            origin.close()

    async def _forward(self, request: h11.Request) -> None:
        host, port, target = _absolute(request.target.decode("ascii"))
        origin = await self._proxy.open(host, port)
        try:
            http = h11.Connection(h11.CLIENT)
            headers = [
                *_end_to_end(request.headers, b"host"),
                (b"host", _host_header(host, port)),
                (b"connection", b"close"),
                *_framing(request.headers),
            ]
            out = h11.Request(method=request.method, target=target, headers=headers)
            await _send(http, origin, out)
            await self._send_body(http, origin, host, port)
            await self._answer(http, origin, host, port)
        finally:
            origin.close()

    async def _send_body(self, http: h11.Connection, origin: _Stream, host: str, port: int) -> None:
        if self._http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            await _send(self._http, self._browser, go_on)
        while True:
            event = await _next(self._http, self._browser)
            if isinstance(event, h11.Data):
                self._proxy.count(host, port, len(event.data))
                await _send(http, origin, h11.Data(data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                await _send(http, origin, h11.EndOfMessage())
                return
            else:
                raise ConnectionError("the browser broke off")

    async def _answer(self, http: h11.Connection, origin: _Stream, host: str, port: int) -> None:
        while True:
            try:
                event = await _next(http, origin)
            except (h11.RemoteProtocolError, TimeoutError, OSError):
                if self._http.our_state is h11.SEND_RESPONSE:
                    raise _UnreachableError("The host gives no valid answer.") from None
                raise
            if isinstance(event, h11.Response):
                headers = [
                    # No page may say that it is the wall.
                    *_end_to_end(event.headers, REFUSED_HEADER.encode()),
                    *_framing(event.headers),
                ]
                answer = h11.Response(
                    status_code=event.status_code, headers=headers, reason=event.reason
                )
                await _send(self._http, self._browser, answer)
            elif isinstance(event, h11.Data):
                self._proxy.count(host, port, len(event.data))
                await _send(self._http, self._browser, h11.Data(data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                await _send(self._http, self._browser, h11.EndOfMessage())
                return
            elif not isinstance(event, h11.InformationalResponse):
                raise _UnreachableError("The host gives no valid answer.")

    async def _refuse(self, status: int, text: str, *more: tuple[str, str]) -> None:
        """An answer of the wall's own, where none was begun."""
        if self._http.our_state is not h11.SEND_RESPONSE:
            return
        body = f"{text}\n".encode()
        headers = [
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", str(len(body))),
            ("connection", "close"),
            *more,
        ]
        await _send(self._http, self._browser, h11.Response(status_code=status, headers=headers))
        await _send(self._http, self._browser, h11.Data(data=body))
        await _send(self._http, self._browser, h11.EndOfMessage())


async def _next(http: h11.Connection, stream: _Stream) -> Any:
    """The next event of a connection. Raises `TimeoutError`, `OSError`, `RemoteProtocolError`."""
    while True:
        event = http.next_event()
        if event is not h11.NEED_DATA:
            return event
        async with asyncio.timeout(IDLE_SECONDS):
            data = await stream.reader.read(_CHUNK)
        http.receive_data(data)


async def _send(http: h11.Connection, stream: _Stream, event: h11.Event) -> None:
    data = http.send(event)
    if data:
        stream.writer.write(data)
        async with asyncio.timeout(IDLE_SECONDS):
            await stream.writer.drain()


async def _pipe(source: _Stream, to: _Stream, count: Callable[[int], None]) -> None:
    """Until one end is closed: then the other one's is told."""
    while data := await source.reader.read(_CHUNK):
        count(len(data))
        to.writer.write(data)
        await to.writer.drain()
    if to.writer.can_write_eof():
        with suppress(OSError):
            to.writer.write_eof()


def _authority(target: str) -> tuple[str, int]:
    """Host and port of a CONNECT; a port of 0 where there is none, which the wall refuses."""
    host, _, port = target.rpartition(":")
    return host.strip("[]"), int(port) if port.isascii() and port.isdecimal() else 0


def _absolute(target: str) -> tuple[str, int, str]:
    """Host, port and the rest of a request in absolute form."""
    try:
        parts = urlsplit(target)
        port = parts.port if parts.port is not None else _HTTP_PORT
    except ValueError:
        return "", 0, "/"
    if parts.scheme != "http":
        return "", 0, "/"
    rest = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.hostname or "", port, rest


def _host_header(host: str, port: int) -> bytes:
    named = f"[{host}]" if ":" in host else host
    return (named if port == _HTTP_PORT else f"{named}:{port}").encode("ascii")


def _end_to_end(headers: Headers, *more: bytes) -> list[tuple[bytes, bytes]]:
    """Without what is of one connection, the framing and `more`; names are in lower case."""
    named = {
        name.strip().lower()
        for header, value in headers
        if header == b"connection"
        for name in value.split(b",")
    }
    dropped = {*_HOP, b"content-length", *named, *more}
    return [(name, value) for name, value in headers if name not in dropped]


def _framing(headers: Headers) -> list[tuple[bytes, bytes]]:
    """How long the body is: its length, or in chunks. Of both the latter counts, as h11 reads."""
    found = dict(headers)
    if b"transfer-encoding" in found:
        return [(b"transfer-encoding", b"chunked")]
    if b"content-length" in found:
        return [(b"content-length", found[b"content-length"])]
    return []


def _addresses_of(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]
