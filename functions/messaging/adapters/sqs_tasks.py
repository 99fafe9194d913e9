"""The queue of what the service does later, in SQS: messages carry ids."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from functions.messaging.domain.queue_errors import QueueUnavailableError
from servicekit.aws import LazyClient, guarded, make_client

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class SqsTasks:
    """`redrives.Tasks`."""

    def __init__(self, url: str, make: Callable[[], SQSClient] | None = None) -> None:
        self._url = url
        self._client: LazyClient[SQSClient] = LazyClient(make or make_sqs)

    async def redrive(self, redrive_id: str) -> None:
        """See `Tasks`."""
        await asyncio.to_thread(self._send, json.dumps({"redrive_id": redrive_id}))

    def _send(self, body: str) -> None:
        guarded(
            "the queue",
            QueueUnavailableError,
            lambda: self._client.get().send_message(QueueUrl=self._url, MessageBody=body),
        )


def make_sqs() -> SQSClient:
    """A client with the deadlines of a call that somebody waits for."""
    client: SQSClient = make_client(
        "sqs",
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return client
