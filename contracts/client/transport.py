"""Carries calls to one service: pooled connections, deadlines, errors with a type."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote, urlencode

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from contracts.client.errors import (
    InvalidAnswerError,
    ServiceProblemError,
    ServiceTimeoutError,
    ServiceUnreachableError,
    SigningError,
    problem_error,
)
from contracts.client.signing import NoCredentialsError
from contracts.problem import PROBLEM_MEDIA_TYPE, Problem

T = TypeVar("T")

_JSON = "application/json"
_CONNECT_ATTEMPTS_OF_A_READ = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What a caller passes through: correlation, and the key that makes a POST safe to repeat."""

    request_id: str | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None

    def headers(self) -> dict[str, str]:
        """The headers of those that are set."""
        named = {
            "X-Request-Id": self.request_id,
            "traceparent": self.traceparent,
            "Idempotency-Key": self.idempotency_key,
        }
        return {name: value for name, value in named.items() if value is not None}


NO_OPTIONS = CallOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. `path` is relative to the base URL; query values of None are left out."""

    operation: str
    method: str
    path: str
    query: Mapping[str, str | int | None] | None = None
    body: BaseModel | None = None
    options: CallOptions = NO_OPTIONS


class ServiceTransport:
    """Sends calls to one base URL.

    `timeout` bounds connecting and each wait for bytes, `stream_timeout` each wait for bytes of a
    stream, both in seconds. Nothing is repeated, but for a GET that could not connect: once.
    """

    def __init__(
        self,
        *,
        service: str,
        base_url: str,
        timeout: float,
        stream_timeout: float,
        auth: httpx.Auth | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._service = service
        self._stream_timeout = httpx.Timeout(timeout, read=stream_timeout)
        self._http = httpx.AsyncClient(
            base_url=base_url, auth=auth, timeout=timeout, transport=transport
        )

    async def aclose(self) -> None:
        """Close the pooled connections."""
        await self._http.aclose()

    async def fetch(self, call: Call, answer: TypeAdapter[T]) -> T:
        """The parsed answer. Raises a `ServiceError`."""
        attempts = _CONNECT_ATTEMPTS_OF_A_READ if call.method == "GET" else 1
        with self._typed_errors(call):
            response = await self._send(call, attempts)
        if not response.is_success:
            raise self._problem(call, response)
        try:
            return answer.validate_json(response.content)
        except ValidationError as error:
            raise InvalidAnswerError(self._service, call.operation, _summary(error)) from None

    @asynccontextmanager
    async def stream(self, call: Call, media_type: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of a successful answer as they come. Raises a `ServiceError`."""
        with self._typed_errors(call):
            request = self._request(call, accept=media_type)
            request.extensions["timeout"] = self._stream_timeout.as_dict()
            response = await self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    raise self._problem(call, response)
                if _media_type(response) != media_type:
                    raise InvalidAnswerError(self._service, call.operation, f"no {media_type}")
                yield response.aiter_bytes()
            finally:
                await response.aclose()

    async def _send(self, call: Call, attempts: int) -> httpx.Response:
        for _ in range(attempts - 1):
            try:
                return await self._http.send(self._request(call, accept=_JSON))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._http.send(self._request(call, accept=_JSON))

    def _request(self, call: Call, accept: str) -> httpx.Request:
        headers = {"Accept": f"{accept}, {PROBLEM_MEDIA_TYPE}", **call.options.headers()}
        content = None
        if call.body is not None:
            headers["Content-Type"] = _JSON
            # Only what the caller set: a null may mean something else than an absent field.
            content = call.body.model_dump_json(exclude_unset=True).encode()
        query = {name: value for name, value in (call.query or {}).items() if value is not None}
        # Signatures are made over %20, which urlencode and httpx would write as a plus sign.
        url = f"{call.path}?{urlencode(query, quote_via=quote, safe='')}" if query else call.path
        return self._http.build_request(call.method, url, headers=headers, content=content)

    @contextmanager
    def _typed_errors(self, call: Call) -> Iterator[None]:
        try:
            yield
        except NoCredentialsError as error:
            raise SigningError(self._service, call.operation, str(error)) from None
        except httpx.TimeoutException as error:
            raise ServiceTimeoutError(
                self._service, call.operation, type(error).__name__
            ) from error
        except httpx.TransportError as error:
            reason = type(error).__name__
            raise ServiceUnreachableError(self._service, call.operation, reason) from error
        except httpx.DecodingError as error:
            raise InvalidAnswerError(self._service, call.operation, "undecodable body") from error

    def _problem(self, call: Call, response: httpx.Response) -> ServiceProblemError:
        return problem_error(
            self._service, call.operation, _read_problem(response), _retry_after(response)
        )


def _read_problem(response: httpx.Response) -> Problem:
    """The answer's Problem; one made from the status where a gateway answered in its own way."""
    if _media_type(response) == PROBLEM_MEDIA_TYPE:
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError:
            pass
        else:
            # The status line is what was sent; the body only repeats it.
            return problem.model_copy(update={"status": response.status_code})
    try:
        title = HTTPStatus(response.status_code).phrase
    except ValueError:
        title = "HTTP error"
    headers = response.headers
    return Problem(
        title=title,
        status=response.status_code,
        code=f"http_{response.status_code}",
        request_id=headers.get("X-Request-Id") or headers.get("x-amzn-RequestId"),
    )


def _media_type(response: httpx.Response) -> str:
    content_type: str = response.headers.get("Content-Type", "")
    return content_type.partition(";")[0].strip().lower()


def _retry_after(response: httpx.Response) -> int | None:
    value: str = response.headers.get("Retry-After", "")
    return int(value) if value.isascii() and value.isdigit() else None


def _summary(error: ValidationError) -> str:
    """Where the answer breaks the contract, without its content."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['type']}"
