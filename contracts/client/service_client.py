"""What the clients of all services have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import ClassVar, Self, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter

from contracts.client.signing import SigV4
from contracts.client.transport import Call, ServiceTransport

A = TypeVar("A", bound=BaseModel)


class ServiceClient:
    """A service's calls. Every method raises `contracts.client.errors.ServiceError`.

    Holds a pool of connections: use it with `async with`, or call `aclose`, and share it between
    tasks of one event loop. Requests are signed when `auth` is a `SigV4`.
    """

    SERVICE: ClassVar[str]
    """The service's name, as its health call has it."""

    ADDRESS_VARIABLE: ClassVar[str]
    """The environment variable of its base URL."""

    TIMEOUT_SECONDS: ClassVar[float] = 30.0
    STREAM_TIMEOUT_SECONDS: ClassVar[float] = 300.0

    def __init__(
        self,
        base_url: str,
        *,
        auth: httpx.Auth | None = None,
        timeout: float | None = None,
        stream_timeout: float | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`timeout` is of each wait, `stream_timeout` of each wait for bytes of a stream, in
        seconds: without them `TIMEOUT_SECONDS` and `STREAM_TIMEOUT_SECONDS`.
        """
        self._calls = ServiceTransport(
            service=self.SERVICE,
            base_url=base_url,
            timeout=self.TIMEOUT_SECONDS if timeout is None else timeout,
            stream_timeout=(
                self.STREAM_TIMEOUT_SECONDS if stream_timeout is None else stream_timeout
            ),
            auth=auth,
            transport=transport,
        )

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, *, sign: bool = False
    ) -> Self:
        """A client of the URL in `ADDRESS_VARIABLE`; `sign` signs for `AWS_REGION`, with the
        credentials that botocore would use.

        Raises `KeyError` naming the variable that is missing.
        """
        values = os.environ if environment is None else environment
        auth = SigV4(region=values["AWS_REGION"]) if sign else None
        return cls(values[cls.ADDRESS_VARIABLE], auth=auth)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the pooled connections."""
        await self._calls.aclose()

    async def _fetch(self, call: Call, model: type[A]) -> A:
        return await self._calls.fetch(call, TypeAdapter(model))
