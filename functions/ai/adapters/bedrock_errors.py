"""What Bedrock's errors mean to a caller. Their texts stay here: they may quote the prompt."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

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

# By code in lower case: exceptions inside a stream begin with a small letter, others do not.
_BY_CODE: Mapping[str, type[AppError]] = {
    "throttlingexception": ProviderThrottledError,
    "servicequotaexceededexception": ProviderThrottledError,
    "accessdeniedexception": ProviderAuthError,
    "unrecognizedclientexception": ProviderAuthError,
    "expiredtokenexception": ProviderAuthError,
    "invalidsignatureexception": ProviderAuthError,
    "validationexception": ProviderRejectedError,
    "resourcenotfoundexception": ModelUnavailableError,
    "modelnotreadyexception": ProviderUnavailableError,
    "serviceunavailableexception": ProviderUnavailableError,
    "internalserverexception": ProviderUnavailableError,
    "modeltimeoutexception": ProviderTimeoutError,
    "modelerrorexception": ProviderError,
    "modelstreamerrorexception": ProviderError,
}
_TOO_LONG = (
    "too long",
    "too many tokens",
    "tokens exceed",
    "context length",
    "context limit",
    "context window",
)
_BAD_MODEL = ("model identifier", "on-demand throughput")

_logger = logging.getLogger(__name__)


def to_app_error(error: Exception) -> AppError:
    """The error to answer with; what is not ours is logged by its type and code alone."""
    from botocore import exceptions as aws  # noqa: PLC0415
    from urllib3.exceptions import ReadTimeoutError  # noqa: PLC0415

    match error:
        case AppError():
            return error
        case aws.ClientError():
            return _from_response(error.response)
        case aws.ReadTimeoutError() | aws.ConnectTimeoutError() | ReadTimeoutError():
            meaning: AppError = ProviderTimeoutError()
        case aws.NoCredentialsError() | aws.PartialCredentialsError():
            meaning = ProviderAuthError()
        case aws.ParamValidationError():
            meaning = ProviderRejectedError()
        case _:
            meaning = ProviderUnavailableError()
    _logger.error("bedrock failed", exc_info=error)
    return meaning


def _from_response(response: Any) -> AppError:
    code = str(response["Error"].get("Code", ""))
    kind = _BY_CODE.get(code.lower(), ProviderError)
    if kind is ProviderRejectedError:
        message = str(response["Error"].get("Message", "")).lower()
        if any(sign in message for sign in _TOO_LONG):
            kind = ContextTooLongError
        elif any(sign in message for sign in _BAD_MODEL):
            kind = ModelUnavailableError
    _logger.warning("bedrock refused", extra={"aws_code": code})
    return kind(retry_after=_retry_after(response))


def _retry_after(response: Any) -> int | None:
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    value = headers.get("retry-after", "")
    return int(value) if value.isascii() and value.isdigit() else None
