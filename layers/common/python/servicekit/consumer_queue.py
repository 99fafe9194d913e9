"""When messages of a consumer's queues come again: SQS's visibility timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from servicekit.aws import LazyClient, make_client
from servicekit.bus_event import Delivery

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_HIDDEN_SECONDS = 12 * 3600 - 60
"""SQS keeps a message hidden for 12 h from its receipt on, no longer."""


class SqsVisibility:
    """`consumption.Visibility` for all queues that lie beside the one of `queue_url`: messages name
    theirs by its ARN, which ends as its URL does.
    """

    def __init__(self, queue_url: str, make: Callable[[], SQSClient] | None = None) -> None:
        self._beside = queue_url.rpartition("/")[0]
        self._client: LazyClient[SQSClient] = LazyClient(make or _make_client)

    async def hide(self, delivery: Delivery, seconds: int) -> None:
        """See `consumption.Visibility`. Raises botocore's errors."""
        await asyncio.to_thread(self._hide, delivery, min(seconds, MAX_HIDDEN_SECONDS))

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def _hide(self, delivery: Delivery, seconds: int) -> None:
        self._client.get().change_message_visibility(
            QueueUrl=f"{self._beside}/{delivery.source}",
            ReceiptHandle=delivery.receipt,
            VisibilityTimeout=seconds,
        )


def _make_client() -> SQSClient:
    client: SQSClient = make_client(
        "sqs",
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return client
