"""The queues of jobs, in SQS."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from functions.ai.domain.errors import QueueUnavailableError
from functions.ai.domain.job_ports import Delivery, JobMessage
from functions.ai.domain.turns import Priority
from servicekit.aws import LazyClient, guarded, make_client
from servicekit.entries import put_all

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_CONNECT_SECONDS = 2
_READ_SECONDS = 5
_logger = logging.getLogger(__name__)

T = TypeVar("T")


class SqsJobs:
    """`job_ports.JobQueues` and `job_ports.Deliveries` on SQS."""

    def __init__(
        self, urls: Mapping[Priority, str], make: Callable[[], SQSClient] | None = None
    ) -> None:
        self._urls = urls
        self._client: LazyClient[SQSClient] = LazyClient(make or _make_client)

    async def send(self, priority: Priority, messages: Sequence[JobMessage]) -> None:
        """See `job_ports.JobQueues`."""
        url = self._urls[priority]
        bodies = [json.dumps(asdict(message)) for message in messages]
        refused = await put_all(bodies, lambda some: _guarded(lambda: self._send(url, some)))
        if refused:
            raise QueueUnavailableError(retry_after=1)

    async def hide(self, delivery: Delivery, seconds: int) -> None:
        """See `job_ports.Deliveries`."""
        # Messages name their queue by its ARN, which ends as its URL does.
        (url,) = (u for u in self._urls.values() if u.rpartition("/")[2] == delivery.queue)

        def change() -> None:
            self._client.get().change_message_visibility(
                QueueUrl=url, ReceiptHandle=delivery.receipt, VisibilityTimeout=seconds
            )

        await asyncio.to_thread(_guarded, change)

    def _send(self, url: str, bodies: Sequence[str]) -> list[int]:
        answer = self._client.get().send_message_batch(
            QueueUrl=url,
            Entries=[{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)],
        )
        failed = answer.get("Failed", [])
        if failed:
            # An answer of 200 says nothing about the entries: each tells for itself.
            codes = sorted({entry["Code"] for entry in failed})
            _logger.warning(
                "the queue refused entries", extra={"entries": len(failed), "aws_codes": codes}
            )
        return [int(entry["Id"]) for entry in failed]


def _guarded(call: Callable[[], T]) -> T:
    return guarded("the queue", QueueUnavailableError, call)


def _make_client() -> SQSClient:
    client: SQSClient = make_client(
        "sqs",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return client
