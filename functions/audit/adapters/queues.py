"""The sink's own SQS queues."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from servicekit.aws import LazyClient, guarded, make_client
from servicekit.errors import StoreUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_CONNECT_SECONDS = 2
_READ_SECONDS = 5


class _Queue:
    def __init__(self, url: str, make: Callable[[], SQSClient] | None) -> None:
        self._url = url
        self._client: LazyClient[SQSClient] = LazyClient(make or _make_client)

    async def send(self, message: Mapping[str, object]) -> None:
        await asyncio.to_thread(self._send, json.dumps(message))

    def _send(self, body: str) -> None:
        guarded(
            "the queue",
            StoreUnavailableError,
            lambda: self._client.get().send_message(QueueUrl=self._url, MessageBody=body),
        )


class SqsExportQueue:
    """`ports.ExportQueue` on SQS. Raises `StoreUnavailableError`."""

    def __init__(self, url: str, make: Callable[[], SQSClient] | None = None) -> None:
        self._queue = _Queue(url, make)

    async def send(self, export_id: str) -> None:
        """See `ports.ExportQueue`."""
        await self._queue.send({"export_id": export_id})


class SqsIntakeQueue:
    """`ports.IntakeQueue` on SQS. Raises `StoreUnavailableError`."""

    def __init__(self, url: str, make: Callable[[], SQSClient] | None = None) -> None:
        self._queue = _Queue(url, make)

    async def send(self, event: Mapping[str, object], reported_by: str) -> None:
        """See `ports.IntakeQueue`."""
        await self._queue.send({"event": event, "reported_by": reported_by})


def _make_client() -> SQSClient:
    client: SQSClient = make_client(
        "sqs",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return client
