"""The WebSocket API's connections, by API Gateway's management API.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

from functions.messaging.domain.sockets import (
    ConnectionBusyError,
    ConnectionGoneError,
    SendingFailedError,
)
from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

_WORKERS = 32
_CONNECT_SECONDS = 1
_READ_SECONDS = 3
_BUSY = frozenset({"LimitExceededException", "TooManyRequestsException", "ThrottlingException"})
_GONE = 410
_SERVER_ERROR = 500
_logger = logging.getLogger(__name__)


class ConnectionsApi:
    """`sockets.Sockets` at the address `url`, which ends with the API's stage."""

    def __init__(
        self, url: str, make: Callable[[], ApiGatewayManagementApiClient] | None = None
    ) -> None:
        self._client: LazyClient[ApiGatewayManagementApiClient] = LazyClient(
            make or (lambda: _make_client(url))
        )
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="sockets")

    async def send(self, connection_id: str, text: str) -> None:
        """See `Sockets`."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._workers, self._send, connection_id, text)

    def close(self) -> None:
        """Ends the worker threads and the connections."""
        self._workers.shutdown(wait=True)
        self._client.close()

    def _send(self, connection_id: str, text: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            self._client.get().post_to_connection(ConnectionId=connection_id, Data=text.encode())
        except ClientError as error:
            code = error.response["Error"]["Code"]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == _GONE or code == "GoneException":
                raise ConnectionGoneError from None
            if code in _BUSY or status >= _SERVER_ERROR:
                raise ConnectionBusyError from None
            _logger.exception("message not sent", extra={"aws_code": code})
            raise SendingFailedError from None
        except BotoCoreError:
            raise ConnectionBusyError from None


def _make_client(url: str) -> ApiGatewayManagementApiClient:
    client = make_client(
        "apigatewaymanagementapi",
        endpoint_url=url,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=_WORKERS,
        parameter_validation=False,
        # The pusher repeats, until its deadline.
        retries={"mode": "standard", "total_max_attempts": 1},
    )
    return cast("ApiGatewayManagementApiClient", client)
