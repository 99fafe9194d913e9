"""What Anthropic's errors mean to a caller. Their texts stay here: they may quote the prompt."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from functions.ai.adapters.provider_errors import Meaning, by_status, by_words, seconds
from functions.ai.domain.errors import (
    ContentRefusedError,
    ContextTooLongError,
    ModelUnavailableError,
    ProviderAuthError,
    ProviderRejectedError,
    ProviderThrottledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from servicekit.errors import AppError

if TYPE_CHECKING:
    from anthropic import APIError

_BY_TYPE: Mapping[str, Meaning] = {
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
# The API names these causes in words alone.
_BY_WORDS: tuple[tuple[str, Meaning], ...] = (
    ("prompt is too long", ContextTooLongError),
    ("context limit", ContextTooLongError),
    ("context window", ContextTooLongError),
    ("content filtering policy", ContentRefusedError),
    ("credit balance", ProviderAuthError),
)

_logger = logging.getLogger(__name__)


def to_app_error(error: APIError) -> AppError:
    """The error to answer with, of one of the SDK's; logged by its type and status alone.

    Raises what is no failure of the provider's: the SDK takes any error for one of the connection.
    """
    from anthropic import APIStatusError, APITimeoutError  # noqa: PLC0415
    from httpx2 import NetworkError, ProxyError, RemoteProtocolError  # noqa: PLC0415

    if isinstance(error, APIStatusError):
        return refusal(
            error.body, error.status_code, seconds(error.response.headers.get("retry-after"))
        )
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
    kind = str(said.get("type", ""))
    # Of bodies that name no type known here: what stands in front of the API speaks HTTP alone.
    meaning = _BY_TYPE.get(kind) or by_status(status, ProviderRejectedError)
    meaning = by_words(meaning, said.get("message", ""), _BY_WORDS)
    # A type that is not known here may be anything a provider says: it is not repeated.
    known = kind if kind in _BY_TYPE else None
    _logger.warning("anthropic refused", extra={"error_type": known, "status": status})
    return meaning(retry_after=retry_after)
