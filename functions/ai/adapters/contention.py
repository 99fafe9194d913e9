"""How writers that meet at one item give way to each other."""

from __future__ import annotations

import random

_BACKOFF_SECONDS = 0.02
_MAX_BACKOFF_SECONDS = 1.0
_MAX_DOUBLINGS = 10


def pause(attempt: int) -> float:
    """Seconds to wait before the next try."""
    # Full jitter: waiting equally long would let the same rivals meet again.
    longest = _BACKOFF_SECONDS * 2 ** min(attempt, _MAX_DOUBLINGS)
    return random.uniform(0, min(longest, _MAX_BACKOFF_SECONDS))  # noqa: S311
