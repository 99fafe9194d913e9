"""The calls that wait for a model: /chat as a whole, /chat/stream as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from contracts.ai import v1
from contracts.ai.turns import MAX_TURN_ID_LENGTH
from functions.ai.domain.channel import Listening
from functions.ai.domain.dependencies import Stream
from functions.ai.domain.errors import StreamNotSupportedError, TurnNotFoundError
from functions.ai.routes import wire
from functions.ai.routes.export import export_user
from functions.ai.routes.idempotent import keyed
from functions.ai.routes.sse import event_stream, last_event_id, protocol_of
from servicekit.asgi import RequestMiddleware
from servicekit.errors import InternalError
from servicekit.identity import require_caller, streamed_context
from servicekit.problems import exception_handlers, read_json
from servicekit.responses import WireResponse

WEB_ADAPTER_READY_PATH = "/_lwa/ready"


def create_app(stream: Stream) -> Starlette:
    """The streaming function's app."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await stream.chat.drain()
        await stream.close()

    app = Starlette(
        routes=[
            Route("/api/v1/chat", chat, methods=["POST"]),
            Route("/api/v1/chat/stream", chat_stream, methods=["POST"]),
            Route("/api/v1/turns/{turn_id}/events", turn_events, methods=["GET"]),
            Route("/api/v1/users/{user_id}/export", export_user, methods=["GET"]),
            Route(WEB_ADAPTER_READY_PATH, web_adapter_ready),
        ],
        exception_handlers=dict(exception_handlers()),
        middleware=[
            Middleware(
                RequestMiddleware,
                read_context=streamed_context,
                max_body_bytes=v1.MAX_BODY_BYTES,
            )
        ],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.stream = stream
    return app


async def chat(request: Request) -> Response:
    """The whole answer."""
    require_caller(request.scope)
    body = await read_json(request, v1.ChatRequest)
    if body.stream:
        raise StreamNotSupportedError('Send "stream": false, or POST to /api/v1/chat/stream.')
    turn = await _start(request, body, "chat", restartable=True)
    await turn.started()
    async for _ in turn.batches():
        pass
    outcome = await turn.outcome()
    stream: Stream = request.app.state.stream
    await turn.finished()
    if outcome.error is not None or outcome.message is None:
        raise outcome.error or InternalError
    answer = v1.ChatResponse(
        session_id=outcome.turn.session_id,
        message=wire.message(outcome.message, stream.content_bucket),
        turn_id=outcome.turn.turn_id,
    )
    return WireResponse(answer)


async def chat_stream(request: Request) -> ASGIApp:
    """The answer as the model writes it; its first text decides the status."""
    require_caller(request.scope)
    protocol = protocol_of(request, "v1")
    body = await read_json(request, v1.ChatRequest)
    turn = await _start(request, body, "chat_stream", restartable=protocol != "v1")
    await turn.started()
    return event_stream(turn, protocol)


async def turn_events(request: Request) -> ASGIApp:
    """A turn's events from any place on, whichever process runs it."""
    require_caller(request.scope)
    turn_id = request.path_params["turn_id"]
    # No turn has a longer one, and a longer key is an error to DynamoDB.
    if len(turn_id) > MAX_TURN_ID_LENGTH:
        raise TurnNotFoundError
    protocol = protocol_of(request, "events")
    stream: Stream = request.app.state.stream
    turn = await stream.turns.follow(turn_id, last_event_id(request))
    return event_stream(turn, protocol)


async def web_adapter_ready(_request: Request) -> Response:
    """For the web adapter alone; API Gateway has no such route."""
    return PlainTextResponse("ready")


async def _start(
    request: Request, body: v1.ChatRequest, operation: str, *, restartable: bool
) -> Listening:
    stream: Stream = request.app.state.stream
    command = replace(wire.chat_command(body), restartable=restartable)
    key = keyed(request, operation, body, body.project_id, body.user_id)
    return await stream.chat.start(command, key)
