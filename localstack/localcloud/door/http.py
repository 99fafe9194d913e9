"""A request as the front door sees it, and the ASGI types."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# Of one connection, never forwarded (RFC 9110 section 7.6.1).
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


@dataclass(frozen=True)
class Request:
    """A request whose body has arrived whole. Header names are in lower case."""

    method: str
    # As it was sent: percent-encoded, without the query.
    path: str
    query: str
    headers: Headers
    body: bytes = b""

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        wanted = name.encode()
        return [value.decode("latin-1") for key, value in self.headers if key == wanted]

    def first(self, name: str) -> str:
        """The first value of a header, empty when there is none."""
        return next(iter(self.all(name)), "")


def end_to_end(headers: Iterable[tuple[bytes, bytes]], *without: bytes) -> Headers:
    """The headers that a proxy passes on, in lower case."""
    lowered = [(name.lower(), value) for name, value in headers]
    named = {
        token.strip().lower()
        for name, value in lowered
        if name == b"connection"
        for token in value.split(b",")
    }
    dropped = _HOP_BY_HOP | named | set(without)
    return [(name, value) for name, value in lowered if name not in dropped]


def from_scope(scope: Scope) -> Request:
    """The request of an ASGI scope, its body not read yet."""
    return Request(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=[(name.lower(), value) for name, value in scope["headers"]],
    )
