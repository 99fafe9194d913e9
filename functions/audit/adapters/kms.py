"""Calls of KMS, and what its failures are to callers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from functions.audit.domain.errors import KeyUnavailableError
from servicekit.aws import LazyClient

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

_logger = logging.getLogger(__name__)


async def call(client: LazyClient[KMSClient], operation: str, **arguments: Any) -> Any:
    """The answer of an operation, called on a thread. Raises `KeyUnavailableError`."""
    return await asyncio.to_thread(_call_now, client, operation, arguments)


def _call_now(client: LazyClient[KMSClient], operation: str, arguments: dict[str, Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        return getattr(client.get(), operation)(**arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        _logger.exception("kms refused", extra={"operation": operation, "aws_code": code})
        raise KeyUnavailableError(retry_after=1) from None
    except BotoCoreError:
        _logger.exception("kms failed", extra={"operation": operation})
        raise KeyUnavailableError(retry_after=1) from None
