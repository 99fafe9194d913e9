"""The archive for interactive queries, through the function that holds DuckDB."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from functions.audit.domain import cold
from functions.audit.domain.errors import ArchiveUnavailableError
from functions.audit.domain.models import Filter, Found, FoundPage, Position, Span
from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_CONNECT_SECONDS = 2
_READ_SECONDS = 26
"""Within the 29 s that API Gateway waits."""

_logger = logging.getLogger(__name__)


class ColdFunction:
    """`ports.ColdStore` in another function."""

    def __init__(self, function: str, make: Callable[[], LambdaClient] | None = None) -> None:
        self._function = function
        self._client: LazyClient[LambdaClient] = LazyClient(make or _make_client)

    async def find(
        self, wanted: Filter, span: Span, before: Position | None, limit: int
    ) -> FoundPage:
        """See `ports.ColdStore`."""
        return await self._ask(cold.find_request(wanted, span, before, limit))

    async def get(self, event_id: str, span: Span) -> Found | None:
        """See `ports.ColdStore`."""
        page = await self._ask(cold.get_request(event_id, span))
        return page.items[0] if page.items else None

    async def check(self) -> None:
        """See `ports.ColdStore`."""
        await self._ask(cold.check_request())

    async def _ask(self, request: Mapping[str, Any]) -> FoundPage:
        return cold.read_answer(await asyncio.to_thread(self._invoke, request))

    def _invoke(self, request: Mapping[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            answer = self._client.get().invoke(
                FunctionName=self._function, Payload=json.dumps(request).encode()
            )
            payload = answer["Payload"].read()
        except ClientError as error:
            _logger.exception(
                "the cold function was refused", extra={"aws_code": error.response["Error"]["Code"]}
            )
            raise ArchiveUnavailableError(retry_after=1) from None
        except BotoCoreError:
            _logger.exception("the cold function does not answer")
            raise ArchiveUnavailableError(retry_after=1) from None
        if answer.get("FunctionError"):
            # Its payload tells of the error in its own words; its own log has more.
            _logger.error("the cold function failed", extra={"error": answer.get("FunctionError")})
            raise ArchiveUnavailableError(retry_after=1)
        content: dict[str, Any] = json.loads(payload)
        return content


def _make_client() -> LambdaClient:
    client: LambdaClient = make_client(
        "lambda",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        # A second query would run beside the first, and past what the caller waits.
        retries={"mode": "standard", "total_max_attempts": 1},
    )
    return client
