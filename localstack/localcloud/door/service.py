"""The front door of one service: an ASGI application."""

import dataclasses
import json
import logging
import time
import traceback
import uuid
from collections.abc import Sequence

import httpx

from localcloud.door import rules, websocket
from localcloud.door.http import Headers, Receive, Request, Scope, Send, end_to_end, from_scope
from localcloud.door.operator import Operator, canonical_query
from localcloud.door.plan import ServicePlan
from localcloud.door.problems import Problem, unreachable
from localcloud.door.streamed import StreamedApplication
from localcloud.settings import STAGE

# What the deployed API answers a streamed method with: see infra's request context function.
REQUEST_CONTEXT = "application/vnd.santaclaude.request-context+json"
_EXECUTE_API = "/_aws/execute-api"
_log = logging.getLogger(__name__)
_access = logging.getLogger("localcloud.door.access")


class ServiceDoor:
    """Passes requests to the service's API: signed ones as they are, others as the operator."""

    def __init__(
        self,
        service: ServicePlan,
        *,
        endpoint: str,
        operator: Operator,
        client: httpx.AsyncClient,
        streamed: Sequence[StreamedApplication] = (),
    ) -> None:
        self._service = service
        self._endpoint = endpoint
        self._operator = operator
        self._client = client
        # A service has one streaming function at most.
        self._streamed = next(iter(streamed), None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "websocket":
            await websocket.relay(self._service, self._endpoint, scope, receive, send)
            return
        started = time.monotonic()
        request = from_scope(scope)
        request_id = request.first("x-request-id") or str(uuid.uuid4())
        delivery = "refused"
        status = 500
        try:
            rules.check(request, self._service.port)
            request = dataclasses.replace(request, body=await _body(receive))
            rules.check_media_type(request)
            delivery, status = await self._pass_on(request, request_id, receive, send)
        except Problem as problem:
            status = problem.status
            await _answer(send, problem, request_id)
        except Exception as error:
            # Without its text, which may hold content.
            _log.error("failed", extra={"error": type(error).__name__, "at": _place(error)})
            raise
        finally:
            _access.info(
                "request",
                extra={
                    "service": self._service.name,
                    "method": request.method,
                    "path": request.path,
                    "status": status,
                    "delivery": delivery,
                    "duration_ms": round((time.monotonic() - started) * 1000, 1),
                    "request_id": request_id,
                },
            )

    async def _pass_on(
        self, request: Request, request_id: str, receive: Receive, send: Send
    ) -> tuple[str, int]:
        api_id = self._service.api_id
        if api_id is None:
            raise Problem(503, "not_deployed", f"{self._service.health_name} is not deployed yet.")
        base = f"{_EXECUTE_API}/{api_id}/{STAGE}"
        as_is = request.path.startswith(f"{_EXECUTE_API}/")
        if as_is:
            # Whoever comes by the address of the API itself meets it as on AWS: nothing is signed.
            if request.path != base and not request.path.startswith(f"{base}/"):
                raise Problem(404, "unknown_api", f"This service's API is at {base}.")
            outgoing = dataclasses.replace(
                request, headers=end_to_end(request.headers, b"content-length")
            )
            request = dataclasses.replace(request, path=request.path.removeprefix(base) or "/")
        elif rules.is_signed(request):
            raise Problem(
                421,
                "signed_for_another_address",
                "A signature covers host and path: sign for "
                f"http://{request.first('host')}{base}{request.path}, or do not sign.",
            )
        else:
            request = _with_request_id(request, request_id)
            outgoing = await self._as_operator(request, base)
        upstream = await self._call(outgoing)
        try:
            media_type = upstream.headers.get("content-type", "").split(";", 1)[0].strip()
            if media_type == REQUEST_CONTEXT and upstream.is_success:
                context = await _read(upstream)
                return "streamed", await self._stream(request, context, send, receive)
            await _relay(
                upstream, send, {} if as_is else {b"x-request-id": request_id.encode("latin-1")}
            )
        finally:
            await upstream.aclose()
        return "buffered", upstream.status_code

    async def _as_operator(self, request: Request, base: str) -> Request:
        """The same request at the API's address; signed, unless it has another authorization."""
        path = f"{base}{request.path}"
        moved = dataclasses.replace(
            request,
            path=path,
            headers=[
                (name, value)
                for name, value in end_to_end(request.headers, b"host", b"content-length")
                if not name.startswith(b"x-amz-")
            ],
        )
        if request.all("authorization"):
            return moved
        try:
            moved = dataclasses.replace(moved, query=canonical_query(request.query))
        except UnicodeDecodeError:
            raise Problem(400, "malformed_query", "The query is not UTF-8.") from None
        signed = {name: value for name in ("content-type",) if (value := request.first(name))}
        session = await self._operator.session()
        signature = session.sign(
            request.method, f"{self._endpoint}{moved.target}", signed, request.body
        )
        headers: Headers = [pair for pair in moved.headers if pair[0].decode() not in signature]
        headers += [(name.encode(), value.encode("latin-1")) for name, value in signature.items()]
        return dataclasses.replace(moved, headers=headers)

    async def _call(self, request: Request) -> httpx.Response:
        outgoing = httpx.Request(
            request.method,
            f"{self._endpoint}/",
            headers=request.headers,
            content=request.body or None,
            extensions={
                "target": request.target.encode("latin-1"),
                "timeout": self._client.timeout.as_dict(),
            },
        )
        try:
            return await self._client.send(outgoing, stream=True)
        except httpx.TransportError:
            raise unreachable() from None

    async def _stream(self, request: Request, context: bytes, send: Send, receive: Receive) -> int:
        if self._streamed is None:
            raise Problem(502, "no_application", "The service has no streaming function.")
        # One header line: the document may have been printed over several.
        line = json.dumps(json.loads(context), separators=(",", ":")).encode()
        return await self._streamed.answer(request, line, send, receive)


def _place(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"


def _with_request_id(request: Request, request_id: str) -> Request:
    if request.all("x-request-id"):
        return request
    return dataclasses.replace(
        request, headers=[*request.headers, (b"x-request-id", request_id.encode("latin-1"))]
    )


async def _body(receive: Receive) -> bytes:
    chunks = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "incomplete_body", "The body ended early.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > rules.BODY_BYTES:
            raise rules.too_large()
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _relay(upstream: httpx.Response, send: Send, added: dict[bytes, bytes]) -> None:
    headers = end_to_end(upstream.headers.raw)
    present = {name for name, _ in headers}
    headers += [(name, value) for name, value in added.items() if name not in present]
    await send({"type": "http.response.start", "status": upstream.status_code, "headers": headers})
    try:
        async for chunk in upstream.aiter_raw():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except httpx.TransportError:
        # The answer has begun: leaving it incomplete is all that is left to say.
        return
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read(upstream: httpx.Response) -> bytes:
    try:
        return await upstream.aread()
    except httpx.TransportError:
        raise unreachable() from None


async def _answer(send: Send, problem: Problem, request_id: str) -> None:
    body = problem.body(request_id)
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [
                (b"content-type", b"application/problem+json"),
                (b"content-length", str(len(body)).encode()),
                (b"x-request-id", request_id.encode("latin-1")),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
