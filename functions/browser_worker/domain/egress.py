"""The egress wall's rules: where the browser's traffic may go, how much of it, and what was denied.

Names are judged by what they resolve to, and the connection goes to the very address that was
judged: a name that leads elsewhere a moment later leads nowhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from servicekit.addresses import is_public

WEB_PORTS = frozenset({80, 443})

RATE_PER_SECOND = 50.0
BURST = 200.0
"""Connections and requests: what a heavy page opens at once, and what it may go on with."""

MAX_BYTES = 256 * 1024 * 1024
"""Both ways together, of one batch."""

MAX_DENIALS = 100
"""Different ones that are told of one batch."""

Rule = Literal["address", "port", "not_listed", "rate", "bytes", "malformed"]

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_SITE = re.compile(
    rf"(?P<host>(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::(?P<port>\d{{1,5}}))?",
    re.ASCII,
)
_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Site:
    """A host and its ports, as a list of what is allowed names them.

    `*.example.com` is every host below `example.com`; without a port it is 80 and 443.
    """

    host: str
    ports: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Site:
        """From `host`, `host:port` or `[address]:port`. Raises `ValueError`."""
        found = _SITE.fullmatch(text.strip().lower())
        if found is None:
            raise ValueError(f"{text!r} is no host, host:port or *.domain")
        port = found["port"]
        if port is None:
            return cls(found["host"].strip("[]"), WEB_PORTS)
        if not 0 < int(port) <= _MAX_PORT:
            raise ValueError(f"{text!r} has no such port")
        return cls(found["host"].strip("[]"), frozenset({int(port)}))

    def takes(self, host: str, port: int) -> bool:
        """Whether the host and the port are this site's."""
        if port not in self.ports:
            return False
        if self.host.startswith("*."):
            return host.endswith(self.host[1:])
        return host == self.host


@dataclass(frozen=True, slots=True)
class Denial:
    """An address that the browser was kept from, and the rule by which."""

    host: str
    port: int
    rule: Rule


class DeniedError(Exception):
    """The wall refuses; the denial has been noted."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.rule)
        self.denial = denial


@dataclass(frozen=True, slots=True)
class Policy:
    """What one session's batch may reach.

    By default the public web: ports 80 and 443, and the sites of `listed` at their ports. `strict`
    leaves the sites alone. No list opens an address that is not public, but `loopback`, which only
    the deployment names: sites of this machine, for tests.
    """

    listed: Sequence[Site] = ()
    strict: bool = False
    loopback: Sequence[Site] = ()
    max_bytes: int = MAX_BYTES


class TokenBucket:
    """So many a second over time, and `burst` at once."""

    def __init__(self, rate: float, burst: float, timer: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._timer = timer
        self._tokens = burst
        self._at = timer()

    def take(self) -> bool:
        """Takes one, if there is one."""
        now = self._timer()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Wall:
    """Judges what the browser asks for. One batch at a time has its policy: `begin`."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._policy: Policy | None = None
        self._bucket = TokenBucket(RATE_PER_SECOND, BURST, timer)
        self._bytes = 0
        self._denials: Counter[Denial] = Counter()

    def begin(self, policy: Policy) -> None:
        """From here on this policy is in force, and nothing was denied yet."""
        self._policy = policy
        self._bytes = 0
        self._denials.clear()

    def end(self) -> None:
        """From here on nothing passes: whatever pages go on with waits for the next batch."""
        self._policy = None

    @property
    def denials(self) -> list[tuple[Denial, int]]:
        """What was denied since `begin`, and how often; the most first."""
        return self._denials.most_common()

    def admit(self, host: str, port: int) -> None:
        """Judges a request before its name is looked up. Raises `DeniedError`."""
        policy = self._policy
        host = normal(host)
        if not host or not 0 < port <= _MAX_PORT:
            raise self._denied(host, port, "malformed")
        listed = policy is not None and _any(policy.listed, host, port)
        local = policy is not None and _any(policy.loopback, host, port)
        if policy is None or (policy.strict and not listed and not local):
            raise self._denied(host, port, "not_listed")
        if not listed and not local and port not in WEB_PORTS:
            raise self._denied(host, port, "port")
        if not self._bucket.take():
            raise self._denied(host, port, "rate")
        self.count(host, port, 0)

    def choose(self, host: str, port: int, addresses: Iterable[str]) -> list[str]:
        """Those addresses of an admitted host that are to be connected to. Raises `DeniedError`
        unless every one of them may be.
        """
        found = list(dict.fromkeys(addresses))
        policy = self._policy
        local = policy is not None and _any(policy.loopback, normal(host), port)
        if policy is None or not all(is_public(address, loopback=local) for address in found):
            raise self._denied(normal(host), port, "address")
        return found

    def count(self, host: str, port: int, size: int) -> None:
        """Counts bytes that are about to pass. Raises `DeniedError` where they are too many."""
        policy = self._policy
        self._bytes += size
        if policy is None or self._bytes > policy.max_bytes:
            raise self._denied(normal(host), port, "bytes" if policy else "not_listed")

    def _denied(self, host: str, port: int, rule: Rule) -> DeniedError:
        denial = Denial(host, port, rule)
        if denial in self._denials or len(self._denials) < MAX_DENIALS:
            self._denials[denial] += 1
        return DeniedError(denial)


def normal(host: str) -> str:
    """A host as rules compare it: lower case, without brackets and the root's dot."""
    return host.lower().strip("[]").removesuffix(".")


def _any(sites: Sequence[Site], host: str, port: int) -> bool:
    return any(site.takes(host, port) for site in sites)
