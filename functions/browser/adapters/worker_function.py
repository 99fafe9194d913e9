"""The browser function, called and waited for.

With tenant isolation Lambda brings calls of one session to the environment that already holds its
browser, if there is one. Where the function has no such isolation a `TenantId` is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from contracts.browser.worker import WorkerCommand, WorkerReply
from functions.browser.domain.session_errors import OutcomeUnknownError, WorkerUnavailableError
from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

# Lambda refused these before anything ran:
# https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors
_NOT_BEGUN = frozenset(
    {
        "AccessDeniedException",
        "EC2ThrottledException",
        "ENILimitReachedException",
        "InvalidParameterValueException",
        "RequestTooLargeException",
        "ResourceConflictException",
        "ResourceNotFoundException",
        "ResourceNotReadyException",
        "TooManyRequestsException",
    }
)
_RETRY_AFTER_SECONDS = 1
_logger = logging.getLogger(__name__)


class WorkerFunction:
    """`dispatch.Worker`. One call is one batch, and is never repeated: a batch may have effects.

    `wait_seconds` is for how long a call is waited for, longer than any batch may take.
    """

    def __init__(
        self,
        name: str,
        *,
        tenants: bool,
        wait_seconds: int,
        make: Callable[[], LambdaClient] | None = None,
    ) -> None:
        self._name = name
        self._tenants = tenants
        self._client: LazyClient[LambdaClient] = LazyClient(
            make or (lambda: _make_client(wait_seconds))
        )

    async def run(self, command: WorkerCommand) -> WorkerReply:
        """See `Worker`."""
        payload = command.model_dump_json().encode()
        answer = await asyncio.to_thread(self._call, command.session_id, payload)
        try:
            return WorkerReply.model_validate_json(answer)
        except ValidationError:
            _logger.exception("the browser function answers no reply")
            raise OutcomeUnknownError from None

    def _call(self, session_id: str, payload: bytes) -> bytes:
        from botocore.exceptions import (  # noqa: PLC0415
            BotoCoreError,
            ClientError,
            ConnectTimeoutError,
            EndpointConnectionError,
        )

        tenant: Any = {"TenantId": session_id} if self._tenants else {}
        try:
            answer = self._client.get().invoke(FunctionName=self._name, Payload=payload, **tenant)
            said: bytes = answer["Payload"].read()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            _logger.exception("the browser function refused", extra={"aws_code": code})
            if code in _NOT_BEGUN:
                raise WorkerUnavailableError(retry_after=_RETRY_AFTER_SECONDS) from None
            raise OutcomeUnknownError from None
        except (ConnectTimeoutError, EndpointConnectionError):
            _logger.exception("the browser function was not reached")
            raise WorkerUnavailableError(retry_after=_RETRY_AFTER_SECONDS) from None
        except BotoCoreError:
            _logger.exception("the browser function does not answer")
            raise OutcomeUnknownError from None
        if answer.get("FunctionError"):
            # Its text may quote a page: the function's own log has it.
            _logger.error(
                "the browser function failed", extra={"kind": answer.get("FunctionError")}
            )
            raise OutcomeUnknownError
        return said


def _make_client(wait_seconds: int) -> LambdaClient:
    client = make_client(
        "lambda",
        connect_timeout=2,
        read_timeout=wait_seconds,
        retries={"total_max_attempts": 1},
        tcp_keepalive=True,
    )
    return cast("LambdaClient", client)
