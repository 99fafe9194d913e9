"""The function that pushes to many, called without waiting for it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from functions.messaging.domain.push import PushOrder
from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_logger = logging.getLogger(__name__)


class PushFunction:
    """`push.PushFunctions`: one invocation an order, which Lambda queues and repeats."""

    def __init__(self, name: str, make: Callable[[], LambdaClient] | None = None) -> None:
        self._name = name
        self._client: LazyClient[LambdaClient] = LazyClient(make or _make_client)

    async def hand_on(self, order: PushOrder) -> bool:
        """See `PushFunctions`."""
        return await asyncio.to_thread(self._invoke, json.dumps(asdict(order)).encode())

    def _invoke(self, payload: bytes) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            self._client.get().invoke(
                FunctionName=self._name, InvocationType="Event", Payload=payload
            )
        except (BotoCoreError, ClientError):
            _logger.exception("the push function was not called")
            return False
        return True


def order_from(event: Mapping[str, Any]) -> PushOrder:
    """The order of an invocation. Raises `KeyError` and `ValueError` for anything else."""
    return PushOrder(
        topic=str(event["topic"]),
        first_shard=int(event["first_shard"]),
        end_shard=int(event["end_shard"]),
        frame=str(event["frame"]),
    )


def _make_client() -> LambdaClient:
    client = make_client(
        "lambda",
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return cast("LambdaClient", client)
