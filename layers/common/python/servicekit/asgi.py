"""What surrounds every app: correlation, identity, body limits, problem answers, one access line.

Pure ASGI: Starlette's BaseHTTPMiddleware costs per chunk and stands in the way of streams.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servicekit.context import (
    RequestContext,
    choose_request_id,
    continue_trace,
    enter_context,
)
from servicekit.errors import AppError, BodyTooLargeError, InternalError, UnsupportedMediaTypeError
from servicekit.identity import ContextReader, GatewayContext
from servicekit.problems import ProblemResponse

_logger = logging.getLogger(__name__)
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class RequestMiddleware:
    """The outermost of an app's own middleware: nothing that is raised gets past it.

    `max_body_bytes` bounds what is read of a request's body.
    """

    def __init__(self, app: ASGIApp, read_context: ContextReader, max_body_bytes: int) -> None:
        self._app = app
        self._read_context = read_context
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        answer = _Answer(send)
        try:
            await self._serve(scope, receive, answer)
        except AppError as error:
            await answer.problem(error, scope, receive)
        except Exception:
            _logger.exception("unhandled error")
            await answer.problem(InternalError(), scope, receive)
        finally:
            _logger.info(
                "request",
                extra={
                    "method": scope["method"],
                    "route": _route_template(scope),
                    "status": answer.status,
                    "duration_ms": round((time.perf_counter() - started) * 1000, 1),
                },
            )

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        headers = Headers(scope=scope)
        gateway = GatewayContext(None, None)
        try:
            gateway = self._read_context(scope)
        finally:
            # A refused context still gets a request id, and its answer names it.
            request_id = choose_request_id(headers.get("x-request-id"), gateway.request_id)
            answer.request_id = request_id
            principal = gateway.caller.principal if gateway.caller else None
            trace = continue_trace(headers.get("traceparent"))
            enter_context(RequestContext(request_id, trace, principal))
        scope["santaclaude.caller"] = gateway.caller
        if scope["method"] in _METHODS_WITH_BODY:
            receive = await _read_body(receive, headers, self._max_body_bytes)
        await self._app(scope, receive, answer.send)


class _Answer:
    """The way out: adds X-Request-Id, and knows whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.request_id = ""
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self.request_id
        await self._send(message)

    async def problem(self, error: AppError, scope: Scope, receive: Receive) -> None:
        # A body that has begun cannot become a problem: the server closes the connection instead.
        if self.status is None:
            await ProblemResponse(error)(scope, receive, self.send)


async def _read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> Receive:
    """Reads the body and returns a `receive` that replays it.

    Raises `BodyTooLargeError`, and `UnsupportedMediaTypeError` for a body that does not say JSON.
    """
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise BodyTooLargeError(f"A request body has at most {limit} bytes.")
        more = message.get("more_body", False)
    if size and not _says_json(headers.get("content-type", "")):
        raise UnsupportedMediaTypeError
    return _replay(b"".join(parts), receive)


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": body, "more_body": False}
    ]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _says_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )


def _route_template(scope: Scope) -> str | None:
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None
