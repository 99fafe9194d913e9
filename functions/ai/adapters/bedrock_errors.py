"""What Bedrock's errors mean to a caller. Their texts stay here: they may quote the prompt."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from functions.ai.adapters.provider_errors import Meaning, by_words, seconds
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
_BY_CODE: Mapping[str, Meaning] = {
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
_BY_WORDS: tuple[tuple[str, Meaning], ...] = (
    ("too long", ContextTooLongError),
    ("too many tokens", ContextTooLongError),
    ("tokens exceed", ContextTooLongError),
    ("context length", ContextTooLongError),
    ("context limit", ContextTooLongError),
    ("context window", ContextTooLongError),
    ("model identifier", ModelUnavailableError),
    ("on-demand throughput", ModelUnavailableError),
)

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
    kind = by_words(kind, response["Error"].get("Message", ""), _BY_WORDS)
    _logger.warning("bedrock refused", extra={"aws_code": code})
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return kind(retry_after=seconds(headers.get("retry-after")))
