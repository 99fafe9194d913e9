"""What errors of Chat Completions mean to a caller, at OpenAI, Gemini, Ollama and vLLM.

Their texts stay here: they may quote the prompt, or a part of the key.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from functions.ai.adapters.provider_errors import Meaning, by_status, by_words, seconds
from functions.ai.domain.errors import (
    ContentRefusedError,
    ContextTooLongError,
    ModelUnavailableError,
    ProviderAuthError,
    ProviderError,
    ProviderThrottledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from servicekit.errors import AppError

# OpenAI's codes and types, and Google's statuses, in the order in which an error may have several.
_BY_NAME: Mapping[str, Meaning] = {
    "context_length_exceeded": ContextTooLongError,
    "string_above_max_length": ContextTooLongError,
    "content_filter": ContentRefusedError,
    "content_policy_violation": ContentRefusedError,
    "invalid_prompt": ContentRefusedError,
    "model_not_found": ModelUnavailableError,
    # No money left: nothing that is tried again helps, as with a key that may not.
    "insufficient_quota": ProviderAuthError,
    "billing_hard_limit_reached": ProviderAuthError,
    "billing_not_active": ProviderAuthError,
    "credit_balance_exhausted": ProviderAuthError,
    "invalid_api_key": ProviderAuthError,
    "API_KEY_INVALID": ProviderAuthError,
    "UNAUTHENTICATED": ProviderAuthError,
    "PERMISSION_DENIED": ProviderAuthError,
    "FAILED_PRECONDITION": ProviderAuthError,
    "NOT_FOUND": ModelUnavailableError,
    "RESOURCE_EXHAUSTED": ProviderThrottledError,
    "UNAVAILABLE": ProviderUnavailableError,
    "INTERNAL": ProviderUnavailableError,
    "DEADLINE_EXCEEDED": ProviderTimeoutError,
    "rate_limit_exceeded": ProviderThrottledError,
    "slow_down": ProviderThrottledError,
    "server_is_overloaded": ProviderUnavailableError,
    "service_unavailable_error": ProviderUnavailableError,
    "server_error": ProviderUnavailableError,
}
_UNAUTHORIZED = 401
# Gemini and vLLM name these causes in words alone.
_BY_WORDS: tuple[tuple[str, Meaning], ...] = (
    ("maximum context length", ContextTooLongError),
    ("context window", ContextTooLongError),
    ("input token count", ContextTooLongError),
    ("prompt is too long", ContextTooLongError),
    ("payload size exceeds", ContextTooLongError),
    ("api key not valid", ProviderAuthError),
    ("api key expired", ProviderAuthError),
)
_NO_CREDIT = "Its account has no credit left."
_CREDIT = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit_balance_exhausted",
    }
)

_logger = logging.getLogger(__name__)


def to_app_error(origin: str, error: Exception) -> AppError | None:
    """The error to answer with, of one of the SDK's; None where the fault is our own."""
    import anyio  # noqa: PLC0415
    import httpx2  # noqa: PLC0415
    import openai  # noqa: PLC0415

    match error:
        case openai.APIStatusError():
            headers = error.response.headers
            return refusal(origin, error.body, error.status_code, headers.get("retry-after"))
        case openai.APIConnectionError() if isinstance(
            error.__cause__, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol
        ):
            return None
        case openai.APITimeoutError() | httpx2.TimeoutException():
            meaning: AppError = ProviderTimeoutError()
        # What the SDK takes for a failed connection; reading the stream has it as it comes.
        case (
            openai.APIConnectionError()
            | httpx2.RequestError()
            | ssl.SSLError()
            | anyio.EndOfStream()
        ):
            meaning = ProviderUnavailableError()
        case _:
            return None
    cause = type(error.__cause__ or error).__name__
    _logger.warning("provider failed", extra={"provider": origin, "error_type": cause})
    return meaning


def is_refused_key(error: Exception) -> bool:
    """Whether another key may do better."""
    import openai  # noqa: PLC0415

    if not isinstance(error, openai.APIStatusError):
        return False
    if error.status_code == _UNAUTHORIZED:
        return True
    # Google finds fault with the request where the key is wrong.
    told = _error(error.body)
    return "API_KEY_INVALID" in _names(told) or "api key" in str(told.get("message", "")).lower()


def refusal(
    origin: str, body: Any, status: int | None = None, retry_after: str | None = None
) -> AppError:
    """The error to answer with, of an error's body; one within a stream has no status."""
    error = _error(body)
    if status is None and isinstance(error.get("code"), int):
        status = error["code"]
    names = [name for name in _names(error) if name in _BY_NAME]
    meaning = _BY_NAME[names[0]] if names else by_status(status, ProviderError)
    meaning = by_words(meaning, error.get("message", ""), _BY_WORDS)
    # A name that is not known here may be anything a provider says: it is not repeated.
    _logger.warning(
        "provider refused",
        extra={"provider": origin, "status": status, "error_type": names[0] if names else None},
    )
    wait = seconds(retry_after)
    if wait is None:
        wait = _delay(error)
    return meaning(_NO_CREDIT if _CREDIT.intersection(names) else None, retry_after=wait)


def _error(body: Any) -> Mapping[str, Any]:
    """The object that tells of the error, wherever it stands: Gemini puts it into a list."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return {}
    error = body.get("error", body)
    return error if isinstance(error, dict) else {"message": error}


def _names(error: Mapping[str, Any]) -> Iterator[str]:
    """From the most telling to the least."""
    for detail in _details(error):
        yield str(detail.get("reason"))
    for field in ("code", "type", "status"):
        yield str(error.get(field))


def _details(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            yield detail


def _delay(error: Mapping[str, Any]) -> int | None:
    """How long Google asks to wait: "34s" or "34.07s", in a detail."""
    delays = (detail.get("retryDelay") for detail in _details(error))
    found = next((delay for delay in delays if isinstance(delay, str)), None)
    return seconds(found.removesuffix("s")) if found else None
