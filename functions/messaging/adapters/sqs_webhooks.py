"""The queues of webhook deliveries, in SQS: one without an order, and a FIFO one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from functions.messaging.domain.queue_errors import QueueUnavailableError
from functions.messaging.domain.webhook_ports import (
    MAX_DELAY_SECONDS,
    DeliveryMessage,
    OrderedMessage,
)
from servicekit.aws import LazyClient, guarded, make_client
from servicekit.entries import put_all

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_logger = logging.getLogger(__name__)

Entry = Mapping[str, Any]
T = TypeVar("T")


class SqsDeliveries:
    """`webhook_ports.DeliveryQueue`."""

    def __init__(
        self, url: str, ordered_url: str, make: Callable[[], SQSClient] | None = None
    ) -> None:
        self._url = url
        self._ordered_url = ordered_url
        self._client: LazyClient[SQSClient] = LazyClient(make or _make_client)

    async def send(self, messages: Sequence[DeliveryMessage]) -> None:
        """See `DeliveryQueue`."""
        await self._send_all(self._url, [_entry(message) for message in messages])

    async def send_ordered(self, messages: Sequence[OrderedMessage]) -> None:
        """See `DeliveryQueue`."""
        await self._send_all(self._ordered_url, [_ordered_entry(message) for message in messages])

    async def hide(self, receipt: str, seconds: int) -> None:
        """Has an ordered message come again in so many seconds. Raises `QueueUnavailableError`."""

        def change() -> None:
            self._client.get().change_message_visibility(
                QueueUrl=self._ordered_url, ReceiptHandle=receipt, VisibilityTimeout=seconds
            )

        await asyncio.to_thread(_guarded, change)

    async def _send_all(self, url: str, entries: Sequence[Entry]) -> None:
        refused = await put_all(entries, lambda some: _guarded(lambda: self._refused(url, some)))
        if refused:
            raise QueueUnavailableError(retry_after=1)

    def _refused(self, url: str, entries: Sequence[Entry]) -> list[int]:
        numbered: Any = [{**entry, "Id": str(n)} for n, entry in enumerate(entries)]
        answer = self._client.get().send_message_batch(QueueUrl=url, Entries=numbered)
        failed = answer.get("Failed", [])
        if failed:
            codes = sorted({entry["Code"] for entry in failed})
            _logger.warning(
                "the queue refused entries", extra={"entries": len(failed), "aws_codes": codes}
            )
        return [int(entry["Id"]) for entry in failed]


class SqsHolder:
    """`webhook_ports.MessageHolder`: an ordered message that was received."""

    def __init__(self, queue: SqsDeliveries, receipt: str) -> None:
        self._queue = queue
        self._receipt = receipt

    async def hide(self, seconds: int) -> None:
        """See `MessageHolder`."""
        await self._queue.hide(self._receipt, seconds)


def _entry(message: DeliveryMessage) -> Entry:
    key = message.key
    body = {
        "event_id": key.event_id,
        "subscription_id": key.subscription_id,
        "replay_id": key.replay_id,
    }
    delay = min(message.delay_seconds, MAX_DELAY_SECONDS)
    return {"MessageBody": json.dumps(body), "DelaySeconds": delay}


def _ordered_entry(message: OrderedMessage) -> Entry:
    body = {
        "subscription_id": message.subscription_id,
        "ordering_key": message.ordering_key,
        "event_id": message.event_id,
    }
    return {
        "MessageBody": json.dumps(body),
        "MessageGroupId": _digest(message.subscription_id, message.ordering_key),
        # The queue's scope: one event may be for several subscriptions.
        "MessageDeduplicationId": _digest(
            message.subscription_id, message.event_id, message.repetition
        ),
    }


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _guarded(call: Callable[[], T]) -> T:
    return guarded("the queue", QueueUnavailableError, call)


def _make_client() -> SQSClient:
    client: SQSClient = make_client(
        "sqs",
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return client
