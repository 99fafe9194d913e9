"""What Anthropic's errors mean to a caller. Their texts stay here: they may quote the prompt."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from functions.ai.domain.errors import (
    ContentRefusedError,
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

if TYPE_CHECKING:
    from anthropic import APIError

_BY_TYPE: Mapping[str, type[AppError]] = {
    "api_error": ProviderUnavailableError,
    "authentication_error": ProviderAuthError,
    # No money left: nothing that is tried again helps, as with a key that may not.
    "billing_error": ProviderAuthError,
    "invalid_request_error": ProviderRejectedError,
    "not_found_error": ModelUnavailableError,
    "overloaded_error": ProviderUnavailableError,
    "permission_error": ProviderAuthError,
    "rate_limit_error": ProviderThrottledError,
    "request_too_large": ContextTooLongError,
    "timeout_error": ProviderTimeoutError,
}
# For bodies that name no type known here: what stands in front of the API speaks HTTP alone.
_BY_STATUS: Mapping[int, type[AppError]] = {
    401: ProviderAuthError,
    402: ProviderAuthError,
    403: ProviderAuthError,
    404: ModelUnavailableError,
    408: ProviderTimeoutError,
    413: ContextTooLongError,
    429: ProviderThrottledError,
    504: ProviderTimeoutError,
}
# The API names these causes in words alone.
_BY_WORDS: tuple[tuple[str, type[AppError]], ...] = (
    ("prompt is too long", ContextTooLongError),
    ("context limit", ContextTooLongError),
    ("context window", ContextTooLongError),
    ("content filtering policy", ContentRefusedError),
    ("credit balance", ProviderAuthError),
)
_SERVER_ERRORS = 500

_logger = logging.getLogger(__name__)


def to_app_error(error: APIError) -> AppError:
    """The error to answer with, of one of the SDK's; logged by its type and status alone.

    Raises what is no failure of the provider's: the SDK takes any error for one of the connection.
    """
    from anthropic import APIStatusError, APITimeoutError  # noqa: PLC0415
    from httpx2 import NetworkError, ProxyError, RemoteProtocolError  # noqa: PLC0415

    if isinstance(error, APIStatusError):
        retry_after = _retry_after(error.response.headers)
        return refusal(error.body, error.status_code, retry_after)
    cause = error.__cause__
    if isinstance(error, APITimeoutError):
        meaning: AppError = ProviderTimeoutError()
    elif isinstance(cause, NetworkError | ProxyError | RemoteProtocolError):
        meaning = ProviderUnavailableError()
    else:
        raise error
    _logger.warning("anthropic did not answer", extra={"error_type": type(cause).__name__})
    return meaning


def refusal(body: Any, status: int | None = None, retry_after: int | None = None) -> AppError:
    """The error to answer with, of an error's body; one within a stream has no status."""
    error = body.get("error") if isinstance(body, Mapping) else None
    said = error if isinstance(error, Mapping) else {}
    kind, words = str(said.get("type", "")), str(said.get("message", "")).lower()
    meaning = _BY_TYPE.get(kind) or _by_status(status)
    if meaning is ProviderRejectedError:
        meaning = next((then for sign, then in _BY_WORDS if sign in words), meaning)
    # A type that is not known here may be anything a provider says: it is not repeated.
    known = kind if kind in _BY_TYPE else None
    _logger.warning("anthropic refused", extra={"error_type": known, "status": status})
    return meaning(retry_after=retry_after)


def _by_status(status: int | None) -> type[AppError]:
    if status is None:
        return ProviderError
    if status >= _SERVER_ERRORS:
        return _BY_STATUS.get(status, ProviderUnavailableError)
    return _BY_STATUS.get(status, ProviderRejectedError)


def _retry_after(headers: Mapping[str, str]) -> int | None:
    value = headers.get("retry-after", "")
    return int(value) if value.isascii() and value.isdigit() else None
