"""How writers that meet at one item give way to each other."""

from __future__ import annotations

from servicekit.backoff import full_jitter

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 1.0


def pause(attempt: int) -> float:
    """Seconds to wait before the next try."""
    return full_jitter(attempt, _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
