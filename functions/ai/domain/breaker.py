"""The circuit of a target: whether it is worth asking, by what its last calls came to.

Closed, it lets every call through. Failures that come close together open it; then none is let
through until its pause is over, and after that one, the probe, whose end decides: a success closes
it, a failure opens it for longer. Times are seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

FAILURES = 5
"""That many open the circuit: one may be bad luck, and a call that was given up was retried."""

WINDOW_SECONDS = 60
"""Failures count together that came within this time of the first."""

PAUSE_SECONDS = 30
"""How long a circuit is open at first: overloads and deployments are most often over by then."""

MAX_PAUSE_SECONDS = 300
"""How long at most, doubled from failure to failure of a probe: wrong keys heal by people."""

PROBE_SECONDS = 180
"""How long nobody else is let through for a probe's sake. Longer than a call may take to its
first content; a probe whose process died holds the target up for no longer.
"""

KEPT_SECONDS = 3600
"""A circuit that nobody asked about for so long after its last change is forgotten: closed."""

Phase = Literal["closed", "open", "due"]
"""A circuit is due when its pause is over: it takes one probe."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """What all processes know of a target. `openings` are those since it was closed last, 0 while
    it is; `version` counts the changes.
    """

    failures: int = 0
    since: int = 0
    openings: int = 0
    retry_at: int = 0
    version: int = 0

    def phase(self, now: int) -> Phase:
        """What it lets through."""
        if not self.openings:
            return "closed"
        return "open" if now < self.retry_at else "due"

    def failed(self, now: int, *, probe: bool) -> Circuit:
        """After a failure; unchanged by a call that began before it opened."""
        if self.openings:
            return self._opened(now, self.openings + 1) if probe else self
        fresh = now - self.since < WINDOW_SECONDS
        failures = self.failures + 1 if fresh else 1
        if failures >= FAILURES:
            return self._opened(now, 1)
        return self._changed(failures=failures, since=self.since if fresh else now)

    def succeeded(self) -> Circuit:
        """After a success that began when it was not closed; unchanged where others closed it."""
        return Circuit(version=self.version + 1) if self.openings else self

    def probed(self, now: int) -> Circuit:
        """While a probe is on its way: open to all others."""
        return self._changed(retry_at=now + PROBE_SECONDS)

    @property
    def forgotten_at(self) -> int:
        """When it need not be kept any more."""
        return max(self.since + WINDOW_SECONDS, self.retry_at) + KEPT_SECONDS

    def _opened(self, now: int, openings: int) -> Circuit:
        pause = min(PAUSE_SECONDS * 2 ** (openings - 1), MAX_PAUSE_SECONDS)
        return self._changed(failures=0, since=now, openings=openings, retry_at=now + pause)

    def _changed(self, **fields: int) -> Circuit:
        return replace(self, version=self.version + 1, **fields)


CLOSED = Circuit()
