"""Calls the message service."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter

from contracts.client.signing import SigV4
from contracts.client.transport import NO_OPTIONS, Call, CallOptions, ServiceTransport
from contracts.messaging import progress as live

TIMEOUT_SECONDS = 30.0

_SERVICE = "message-queue-service"

A = TypeVar("A", bound=BaseModel)


class MessageClient:
    """The message service's v1 calls. Every method raises `contracts.client.errors.ServiceError`.

    Holds a pool of connections: use it with `async with`, or call `aclose`, and share it between
    tasks of one event loop. Requests are signed when `auth` is a `SigV4`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: httpx.Auth | None = None,
        timeout: float = TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`timeout` is of each wait, in seconds."""
        self._calls = ServiceTransport(
            service=_SERVICE,
            base_url=base_url,
            timeout=timeout,
            stream_timeout=timeout,
            auth=auth,
            transport=transport,
        )

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, *, sign: bool = False
    ) -> Self:
        """A client of `MESSAGING_SERVICE_URL`; `sign` signs for `AWS_REGION`, as botocore would.

        Raises `KeyError` naming the variable that is missing.
        """
        values = os.environ if environment is None else environment
        auth = SigV4(region=values["AWS_REGION"]) if sign else None
        return cls(values["MESSAGING_SERVICE_URL"], auth=auth)

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

    async def create_ticket(
        self,
        topics: Sequence[str],
        *,
        user_id: int | None = None,
        options: CallOptions = NO_OPTIONS,
    ) -> live.Ticket:
        """A ticket for a client that may follow these topics: checked by whoever calls this."""
        ticket = {"topics": list(topics)} | ({} if user_id is None else {"user_id": user_id})
        call = Call(
            operation="create_ticket",
            method="POST",
            path="/api/v1/tickets",
            body=live.TicketCreate.model_validate(ticket),
            options=options,
        )
        return await self._fetch(call, live.Ticket)

    async def post_progress(
        self, message: live.ProgressCreate, *, options: CallOptions = NO_OPTIONS
    ) -> live.Progress:
        """Tell whoever follows the topic. Raises `ConflictError` when the message's event id was
        used with another one; with an event id it may be repeated.
        """
        call = Call(
            operation="post_progress",
            method="POST",
            path="/api/v1/progress",
            body=message,
            options=options,
        )
        return await self._fetch(call, live.Progress)

    async def post_progress_batch(
        self, messages: Sequence[live.ProgressCreate], *, options: CallOptions = NO_OPTIONS
    ) -> live.ProgressBatchResult:
        """The same for up to 25 messages; the result tells of each what came of it."""
        call = Call(
            operation="post_progress_batch",
            method="POST",
            path="/api/v1/progress/batch",
            body=live.ProgressBatch(messages=list(messages)),
            options=options,
        )
        return await self._fetch(call, live.ProgressBatchResult)

    async def _fetch(self, call: Call, model: type[A]) -> A:
        return await self._calls.fetch(call, TypeAdapter(model))
