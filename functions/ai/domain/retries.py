"""When a failed call is worth repeating, at the same model or at another."""

from __future__ import annotations

from functions.ai.domain.errors import (
    AnswerTooLargeError,
    ContentRefusedError,
    ContextTooLongError,
    ProviderError,
    ProviderRejectedError,
    ProviderThrottledError,
    ProviderUnavailableError,
)
from functions.ai.domain.routing import Random
from servicekit.backoff import full_jitter
from servicekit.errors import AppError, InternalError

FIRST_CONTENT_SECONDS = 150.0
"""How long all models together are asked for the first content. Nothing is sent to the caller
before, and API Gateway ends a call without a byte after 300 s: half of them are left for the whole
answer of a call that does not stream. Two models may be silent for all of their 60 s in it.
"""

MAX_ATTEMPTS = 3
"""Calls to one model."""

MAX_PAUSE_SECONDS = 10.0
"""Whoever must wait longer does it elsewhere: a function that waits is paid by the second."""

_FIRST_PAUSE_SECONDS = 0.5
_REPEATED = (ProviderThrottledError, ProviderUnavailableError)
# They tell of the request, whichever target it is sent to.
_OF_REQUEST = (ProviderRejectedError, AnswerTooLargeError)


def retry_pause(error: AppError, attempt: int, left_seconds: float, random: Random) -> float | None:
    """Seconds until the same model is asked again after its `attempt`-th call (from 1) failed; None
    if it is not: then another is asked, where `may_fail_over`, or the call is given up.

    For failures before the first content; `left_seconds` are of `FIRST_CONTENT_SECONDS`.
    """
    if not isinstance(error, _REPEATED) or attempt >= MAX_ATTEMPTS:
        return None
    pause = full_jitter(attempt - 1, _FIRST_PAUSE_SECONDS, random=random)
    wanted = error.headers.get("Retry-After", "")
    if wanted.isascii() and wanted.isdigit():
        # Not before the time that the provider names.
        pause += int(wanted)
    return pause if pause <= MAX_PAUSE_SECONDS and pause < left_seconds else None


def may_fail_over(error: AppError) -> bool:
    """Whether the error tells of the target and not of the request: another one may do better."""
    return isinstance(error, ProviderError | InternalError) and not isinstance(error, _OF_REQUEST)


def answered(error: AppError | None) -> bool:
    """Whether the target was at work, be it to refuse the request."""
    return error is None or isinstance(
        error, (*_OF_REQUEST, ContextTooLongError, ContentRefusedError)
    )
