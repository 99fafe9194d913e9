"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import SystemRandom

_MAX_DOUBLINGS = 60

# The system's: processes that start from one snapshot would draw the same numbers.
_random = SystemRandom().random


def full_jitter(
    attempt: int,
    first: float,
    longest: float = math.inf,
    random: Callable[[], float] = _random,
) -> float:
    """Seconds to wait after failure number `attempt`, counted from 0: any time up to a bound, each
    as likely as the others. The bound is `first` seconds and doubles each time, up to `longest`.

    "Full jitter" of the AWS Architecture Blog, "Exponential Backoff And Jitter"
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/): rivals that failed
    together and waited equally long would only meet again. `random` gives numbers from 0 up to 1.
    """
    return random() * min(first * 2.0 ** min(attempt, _MAX_DOUBLINGS), longest)
