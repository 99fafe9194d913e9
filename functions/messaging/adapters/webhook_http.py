"""Requests to endpoints that callers named: http.client behind a wall.

A name is resolved once, all its addresses must be public, and the connection goes to one of those
very addresses, so nothing that the name leads to later matters. No redirect is followed, no proxy
of the environment is used, nothing is decompressed. Everything together has one deadline.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

from contracts.messaging.subscriptions import MAX_ANSWER_BYTES
from functions.messaging.domain.webhook_errors import RefusedUrlError
from functions.messaging.domain.webhook_ports import Answered
from functions.messaging.domain.webhook_urls import Target, parse
from servicekit.addresses import is_public

TIMEOUT_SECONDS = 10.0
"""Of a request from the resolution of its name to the head of its answer."""

MAX_READ_BYTES = 64 * 1024
"""Of an answer, its head included."""

MAX_AT_ONCE = 64
"""Requests of one process."""

MAX_LOOKUPS = 32
"""Names that a process looks up at once."""

_CHUNK_BYTES = 4096
_OK = range(200, 300)
_REDIRECTS = range(300, 400)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name. Raises OSError."""


class WebhookHttp:
    """`webhook_ports.Endpoints`. `local` admits http and loopback addresses."""

    def __init__(
        self,
        *,
        local: bool,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self._local = local
        self._resolve = resolve or self._look_up
        self._tls = tls
        self._timeout = timeout
        self._workers = ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="webhook")
        # Apart from the loop's few: a name server that hangs is not to hold up anything else.
        self._resolvers = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="resolve")

    async def check(self, url: str) -> None:
        """See `Endpoints`."""
        target = parse(url, local=self._local)
        try:
            await asyncio.wait_for(self._addresses(target), self._timeout)
        except _RefusedAddressError:
            raise RefusedUrlError("Its host has an address that is not public.") from None
        except (OSError, UnicodeError):
            raise RefusedUrlError("Its host has no address.") from None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """See `Endpoints`."""
        began = time.monotonic()
        deadline = began + self._timeout
        try:
            target = parse(url, local=self._local)
            addresses = await asyncio.wait_for(self._addresses(target), self._timeout)
        except (RefusedUrlError, _RefusedAddressError):
            return Answered(_since(began), error="refused_address")
        except TimeoutError:
            return Answered(_since(began), error="timeout")
        except (OSError, UnicodeError):
            return Answered(_since(began), error="dns_failed")
        call = _Call(target, addresses, headers, body, deadline, self._tls_context)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, call.make, began)

    async def _addresses(self, target: Target) -> list[str]:
        """All addresses of the host. Raises `_RefusedAddressError` if one of them is not public."""
        found = list(dict.fromkeys(await self._resolve(target.host, target.port)))
        if not found:
            raise OSError("no address")
        if not all(is_public(address, loopback=self._local) for address in found):
            raise _RefusedAddressError
        return found

    async def _look_up(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._resolvers, _addresses_of, host, port)

    def _tls_context(self) -> ssl.SSLContext:
        # Reading the authorities takes a while: once, and not before it is needed.
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


class _RefusedAddressError(Exception):
    """An address of the host is not public."""


class _TooMuchError(Exception):
    """More was sent than any answer needs."""


class _Call:
    """One request, made in a thread."""

    def __init__(
        self,
        target: Target,
        addresses: Sequence[str],
        headers: Mapping[str, str],
        body: bytes,
        deadline: float,
        tls: Callable[[], ssl.SSLContext],
    ) -> None:
        self._target = target
        self._addresses = addresses
        self._headers = headers
        self._body = body
        self._deadline = deadline
        self._tls = tls

    def make(self, began: float) -> Answered:
        """Whatever goes wrong is in the answer; certificates come before other errors of OSError's
        kind.
        """
        try:
            with self._connected() as connection:
                return self._exchange(connection, began)
        except TimeoutError:
            error = "timeout"
        except ssl.SSLError:
            error = "tls_failed"
        except OSError:
            error = "connection_failed"
        except (http.client.HTTPException, _TooMuchError, ValueError):
            error = "invalid_answer"
        return Answered(_since(began), error=error)

    def _exchange(self, connection: socket.socket, began: float) -> Answered:
        connection.settimeout(self._left())
        _Sender(connection, self._left).send(self._head() + self._body)
        readable = cast("socket.socket", _Readable(connection, self._left))
        response = http.client.HTTPResponse(readable, method="POST")
        try:
            response.begin()
            latency = _since(began)
            excerpt = _excerpt(response)
        finally:
            response.close()
        return Answered(
            latency,
            response.status,
            _error_of(response.status),
            excerpt,
            _retry_after(response.getheader("retry-after")),
        )

    def _connected(self) -> socket.socket:
        """A connection to one of the addresses, in their order. Raises OSError."""
        failure: OSError | None = None
        for address in self._addresses:
            try:
                # An address and no name: nothing is resolved again.
                plain = socket.create_connection((address, self._target.port), self._left())
            except TimeoutError:
                raise
            except OSError as error:
                failure = error
                continue
            return self._secured(plain) if self._target.secure else plain
        raise failure or OSError("no address")

    def _secured(self, plain: socket.socket) -> socket.socket:
        try:
            plain.settimeout(self._left())
            # The name that the certificate has to be for; the address only leads there.
            secured = self._tls().wrap_socket(
                plain, server_hostname=self._target.host, do_handshake_on_connect=False
            )
        except BaseException:
            plain.close()
            raise
        try:
            secured.do_handshake()
        except BaseException:
            secured.close()
            raise
        return secured

    def _head(self) -> bytes:
        headers = {
            "host": self._target.host_header,
            **self._headers,
            "accept-encoding": "identity",
            "content-length": str(len(self._body)),
            "connection": "close",
        }
        lines = [f"POST {self._target.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a line ends in a header")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")

    def _left(self) -> float:
        """Seconds until the deadline. Raises TimeoutError when it is over."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Sender:
    """Sends bit by bit: an endpoint that takes a byte a second has a deadline, too."""

    def __init__(self, connection: socket.socket, left: Callable[[], float]) -> None:
        self._connection = connection
        self._left = left

    def send(self, content: bytes) -> None:
        """Raises OSError."""
        view = memoryview(content)
        while view:
            self._connection.settimeout(self._left())
            view = view[self._connection.send(view) :]


class _Readable(io.RawIOBase):
    """The connection's other direction, as `HTTPResponse` reads it from its `makefile`."""

    def __init__(self, connection: socket.socket, left: Callable[[], float]) -> None:
        super().__init__()
        self._connection = connection
        self._left = left
        self._read = 0

    def makefile(self, *_args: Any, **_kwargs: Any) -> io.BufferedReader:
        """As a socket has it."""
        return io.BufferedReader(self, _CHUNK_BYTES)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """What comes next. Raises TimeoutError and `_TooMuchError`."""
        if self._read >= MAX_READ_BYTES:
            raise _TooMuchError
        self._connection.settimeout(self._left())
        count = self._connection.recv_into(buffer)
        self._read += count
        return count


def _excerpt(response: http.client.HTTPResponse) -> str:
    """The beginning of the content; whether the rest comes is of no account any more."""
    content = b""
    try:
        while len(content) < MAX_ANSWER_BYTES:
            more = response.read1(MAX_ANSWER_BYTES - len(content))
            if not more:
                break
            content += more
    except (OSError, http.client.HTTPException, _TooMuchError, ValueError):
        pass
    if response.getheader("content-encoding", "identity").lower() != "identity":
        return ""
    text = content.decode(errors="replace")
    return "".join(character if character.isprintable() else " " for character in text)


def _error_of(status: int) -> str | None:
    if status in _OK:
        return None
    return "redirected" if status in _REDIRECTS else f"status_{status}"


def _retry_after(header: str | None) -> float | None:
    """Seconds that the endpoint asks to be left alone for; None for what is no such thing."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def _addresses_of(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[0]) for *_, address in found]
