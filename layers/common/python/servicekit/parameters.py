"""Parameters of other stacks, read from SSM when they are needed and kept for minutes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

KEPT_SECONDS = 300.0


class ParameterUnavailableError(Exception):
    """The parameter is not there, or SSM does not answer."""


class Address(Protocol):
    """Where another service is said to be."""

    async def get(self) -> str:
        """Its address. Raises `ParameterUnavailableError`."""

    def forget(self) -> None:
        """Has the next `get` ask again."""


class Parameter:
    """One plain parameter. Stacks know each other by these names alone, so a value may change."""

    def __init__(
        self,
        name: str,
        make: Callable[[], SSMClient] | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._client: LazyClient[SSMClient] = LazyClient(make or _make_client)
        self._timer = timer
        self._value: str | None = None
        self._read_at = 0.0

    async def get(self) -> str:
        """The value, at most `KEPT_SECONDS` old. Raises `ParameterUnavailableError`."""
        if self._value is None or self._timer() - self._read_at >= KEPT_SECONDS:
            self._value = await asyncio.to_thread(self._read)
            self._read_at = self._timer()
        return self._value

    def forget(self) -> None:
        """Has the next `get` read again: what the value named does not answer as it should."""
        self._value = None

    def _read(self) -> str:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            answer = self._client.get().get_parameter(Name=self._name)
        except (BotoCoreError, ClientError) as error:
            raise ParameterUnavailableError(self._name) from error
        return answer["Parameter"]["Value"]


def _make_client() -> SSMClient:
    client = make_client(
        "ssm",
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return cast("SSMClient", client)
