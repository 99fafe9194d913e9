"""What errors of all providers have in common: HTTP statuses, words, and waits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from functions.ai.domain.errors import (
    ContextTooLongError,
    ModelUnavailableError,
    ProviderAuthError,
    ProviderError,
    ProviderRejectedError,
    ProviderThrottledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from servicekit.errors import AppError

Meaning = type[AppError]

_BY_STATUS: Mapping[int, Meaning] = {
    400: ProviderRejectedError,
    401: ProviderAuthError,
    402: ProviderAuthError,
    403: ProviderAuthError,
    404: ModelUnavailableError,
    408: ProviderTimeoutError,
    413: ContextTooLongError,
    422: ProviderRejectedError,
    429: ProviderThrottledError,
    504: ProviderTimeoutError,
    # Cloudflare's, which stands in front of many.
    524: ProviderTimeoutError,
}
_SERVER_ERRORS = 500
_DAY = 86400


def by_status(status: int | None, otherwise: Meaning) -> Meaning:
    """What a status means by itself; `otherwise` one of which nothing is known, below 500."""
    if status is None:
        return ProviderError
    if status >= _SERVER_ERRORS:
        otherwise = ProviderUnavailableError
    return _BY_STATUS.get(status, otherwise)


def by_words(meaning: Meaning, text: object, signs: Iterable[tuple[str, Meaning]]) -> Meaning:
    """A refusal's meaning as its words tell it, where a provider names the cause in those alone:
    that of the first of `signs` (in small letters) that stands in them. Others stay as they are.
    """
    if meaning is not ProviderRejectedError:
        return meaning
    words = str(text).lower()
    return next((then for sign, then in signs if sign in words), meaning)


def seconds(value: str | None) -> int | None:
    """How long the provider asks to wait, rounded up; None where it says nothing of use."""
    try:
        wanted = math.ceil(float(value or "nan"))
    except (ValueError, OverflowError):
        return None
    return wanted if 0 <= wanted <= _DAY else None
