"""The sealer, invoked in its own function, which alone may extend the log."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from functions.audit.domain.errors import SealingError
from functions.audit.domain.flush import FLUSH
from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_RETRY_SECONDS = 5
# API Gateway waits 29 s for the answer that this one is part of.
_READ_SECONDS = 26
_logger = logging.getLogger(__name__)


class SealerFunction:
    """`ports.SealNow`. Raises `SealingError`."""

    def __init__(self, function: str, make: Callable[[], LambdaClient] | None = None) -> None:
        self._function = function
        self._client: LazyClient[LambdaClient] = LazyClient(make or _make_client)

    async def seal(self) -> Mapping[str, object]:
        """See `ports.SealNow`."""
        return await asyncio.to_thread(self._invoke)

    def _invoke(self) -> Mapping[str, object]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            answer = self._client.get().invoke(
                FunctionName=self._function, Payload=json.dumps(FLUSH).encode()
            )
            content = answer["Payload"].read()
        except (BotoCoreError, ClientError):
            _logger.exception("the sealer does not answer")
            raise SealingError(retry_after=_RETRY_SECONDS) from None
        if failure := answer.get("FunctionError"):
            _logger.error("the sealer failed", extra={"kind": failure})
            raise SealingError(retry_after=_RETRY_SECONDS)
        return cast("Mapping[str, object]", json.loads(content))


def _make_client() -> LambdaClient:
    # Not repeated: sealing goes on in the function when nobody waits for it any more.
    client = make_client(
        "lambda", connect_timeout=2, read_timeout=_READ_SECONDS, retries={"total_max_attempts": 1}
    )
    return cast("LambdaClient", client)
