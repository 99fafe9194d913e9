"""Other functions of this service, invoked while a caller of API Gateway waits."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_CONNECT_SECONDS = 2
_READ_SECONDS = 26
"""Within the 29 s that API Gateway waits."""

_logger = logging.getLogger(__name__)


class InvocationError(Exception):
    """The function gave no answer; what is known of the reason is in the log."""


class InvokedFunction:
    """One function that takes and answers JSON."""

    def __init__(self, name: str, make: Callable[[], LambdaClient] | None = None) -> None:
        self._name = name
        self._client: LazyClient[LambdaClient] = LazyClient(make or _make_client)

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer. Raises `InvocationError`."""
        return await asyncio.to_thread(self._ask, request)

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        about = {"function": self._name}
        try:
            answer = self._client.get().invoke(
                FunctionName=self._name, Payload=json.dumps(request).encode()
            )
            payload = answer["Payload"].read()
        except (BotoCoreError, ClientError):
            _logger.exception("a function does not answer", extra=about)
            raise InvocationError from None
        if failure := answer.get("FunctionError"):
            # Its payload tells of the error in its own words; its own log has more.
            _logger.error("a function failed", extra={**about, "kind": failure})
            raise InvocationError
        content: dict[str, Any] = json.loads(payload)
        return content


def _make_client() -> LambdaClient:
    client: LambdaClient = make_client(
        "lambda",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        # The function goes on when nobody waits for it any more: a second invocation would run
        # beside the first, and past what the caller waits.
        retries={"mode": "standard", "total_max_attempts": 1},
    )
    return client
