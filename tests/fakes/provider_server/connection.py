"""As much of HTTP/1.1 as the clients of model providers need, and little work per request."""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from io import BufferedIOBase

EVENTS = "text/event-stream; charset=utf-8"
JSON = "application/json"
HTML = "text/html"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request with its body. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def read_request(source: BufferedIOBase) -> HttpRequest | None:
    """The next request of a connection, None at its end. Bodies state their length."""
    line = source.readline()
    if not line.strip():
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers = {}
    while (line := source.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = source.read(int(headers.get("content-length", 0)))
    return HttpRequest(method, target.partition("?")[0], headers, body)


def send_whole(
    connection: socket.socket,
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    kind: str = JSON,
) -> None:
    """A response with a body of known length."""
    connection.sendall(_head(status, kind, f"Content-Length: {len(body)}", headers or {}) + body)


def begin_events(connection: socket.socket) -> None:
    """A response whose body follows in chunks."""
    connection.sendall(_head(200, EVENTS, "Transfer-Encoding: chunked", {}))


def _head(status: int, kind: str, length: str, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {_phrase(status)}",
        f"Content-Type: {kind}",
        length,
        *(f"{name}: {value}" for name, value in headers.items()),
        "\r\n",
    ]
    return "\r\n".join(lines).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; the empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def is_gone(connection: socket.socket) -> bool:
    """Whether the client has left."""
    try:
        readable, _, _ = select.select([connection], [], [], 0)
        return bool(readable) and not connection.recv(1, socket.MSG_PEEK)
    except (OSError, ValueError):
        return True


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        # Providers have statuses of their own, such as 529.
        return "Unknown"
