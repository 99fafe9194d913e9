"""Which URLs events may be posted to, as far as the text tells."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from functions.messaging.domain.webhook_errors import RefusedUrlError

_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
# Whatever ends in a number, or in 0x, is read as an IPv4 address by one program or another:
# decimal, octal, hexadecimal, with one to four parts.
_NAME = re.compile(rf"(?:{_LABEL}\.)*(?!0x|\d+$){_LABEL}", re.ASCII)
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_MAX_NAME = 253
_FIRST_FREE_PORT = 1024
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. `host` is a name or an address without brackets."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        """As HTTP's Host has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = _PORTS["https" if self.secure else "http"]
        return host if self.port == default else f"{host}:{self.port}"


def parse(url: str, *, local: bool) -> Target:
    """The parts of a URL. `local` admits http and any port. Raises `RefusedUrlError`."""
    if not _VISIBLE.fullmatch(url) or "\\" in url:
        raise RefusedUrlError("It has characters that a URL has not; names are in punycode.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RefusedUrlError("It is not a URL.") from None
    if parts.scheme not in (_PORTS if local else ("https",)):
        raise RefusedUrlError("It begins with https://.")
    if "@" in parts.netloc:
        raise RefusedUrlError("It names no user.")
    if "#" in url:
        raise RefusedUrlError("It has no fragment.")
    if parts.netloc.endswith(":"):
        raise RefusedUrlError("Its port is not one.")
    host = _host((parts.hostname or "").lower(), bracketed="[" in parts.netloc)
    return Target(
        secure=parts.scheme == "https",
        host=host,
        port=_port(port, parts.scheme, local=local),
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    )


def _port(port: int | None, scheme: str, *, local: bool) -> int:
    if port is None:
        return _PORTS[scheme]
    # Below 1024 other protocols listen, some of which a request could be made to speak.
    if port != _PORTS["https"] and not port >= _FIRST_FREE_PORT and not (local and port):
        raise RefusedUrlError("Its port is 443, or 1024 and above.")
    return port


def _host(host: str, *, bracketed: bool) -> str:
    if bracketed:
        return _address(host, ipaddress.IPv6Address)
    if re.fullmatch(r"[0-9.]+", host):
        return _address(host, ipaddress.IPv4Address)
    if len(host) > _MAX_NAME or not _NAME.fullmatch(host):
        raise RefusedUrlError("Its host is no domain name, nor an address in its usual form.")
    return host


def _address(text: str, kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> str:
    try:
        address = kind(text)
    except ValueError:
        raise RefusedUrlError("Its host is no address in its usual form.") from None
    if "%" in text:
        raise RefusedUrlError("Its address has no zone.")
    return str(address)
