"""Work for the exporter: an SQS queue."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from servicekit.aws import LazyClient, make_client
from servicekit.errors import StoreUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_CONNECT_SECONDS = 2
_READ_SECONDS = 5
_logger = logging.getLogger(__name__)


class SqsExportQueue:
    """`ports.ExportQueue` on SQS."""

    def __init__(self, url: str, make: Callable[[], SQSClient] | None = None) -> None:
        self._url = url
        self._client: LazyClient[SQSClient] = LazyClient(make or _make_client)

    async def send(self, export_id: str) -> None:
        """See `ports.ExportQueue`. Raises `StoreUnavailableError`."""
        await asyncio.to_thread(self._send, json.dumps({"export_id": export_id}))

    def _send(self, body: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            self._client.get().send_message(QueueUrl=self._url, MessageBody=body)
        except ClientError as error:
            _logger.exception(
                "the queue refused", extra={"aws_code": error.response["Error"]["Code"]}
            )
            raise StoreUnavailableError(retry_after=1) from None
        except BotoCoreError:
            _logger.exception("the queue does not answer")
            raise StoreUnavailableError(retry_after=1) from None


def _make_client() -> SQSClient:
    client: SQSClient = make_client(
        "sqs",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return client
