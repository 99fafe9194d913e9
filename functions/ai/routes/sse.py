"""Server-sent events: the response, and in which protocol a caller wants a turn told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import cast, get_args

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from contracts.ai.turns import MAX_EVENT_ID, Protocol
from functions.ai.domain.channel import Listening
from functions.ai.routes import frames_ai_sdk, frames_events, frames_v1
from servicekit.errors import InvalidRequestError

HEARTBEAT = b": nothing new\n\n"

_MEDIA_TYPE = "text/event-stream"
_PROTOCOLS: tuple[str, ...] = get_args(Protocol)


class EventStreamResponse:
    """Sends frames as they come. A client that left is not noticed: the turn goes on anyway.

    The body ends once nothing is left to do: a function stops with its answer.
    """

    def __init__(
        self, turn: Listening, frames: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> None:
        self._turn = turn
        self._frames = frames
        self._headers = {
            "content-type": f"{_MEDIA_TYPE}; charset=utf-8",
            "cache-control": "no-store",
            "x-turn-id": turn.turn.turn_id,
            **headers,
        }

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for frame in self._frames:
            await send(
                {"type": "http.response.body", "body": frame or HEARTBEAT, "more_body": True}
            )
        await self._turn.finished()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def event_stream(turn: Listening, protocol: Protocol) -> EventStreamResponse:
    """The turn in that protocol."""
    if protocol == "ai-sdk":
        return EventStreamResponse(turn, frames_ai_sdk.frames(turn), frames_ai_sdk.HEADERS)
    frames = frames_v1.frames(turn) if protocol == "v1" else frames_events.frames(turn)
    return EventStreamResponse(turn, frames, {})


def protocol_of(request: Request, default: Protocol) -> Protocol:
    """From the query (`?protocol=`) or a parameter of `Accept: text/event-stream; protocol=`.

    Raises `InvalidRequestError`.
    """
    asked = request.query_params.get("protocol") or _accepted(request.headers.get("accept", ""))
    if asked is None:
        return default
    if asked not in _PROTOCOLS:
        message = f"It is one of {', '.join(_PROTOCOLS)}"
        raise InvalidRequestError(errors=[{"field": "protocol", "message": message}])
    return cast("Protocol", asked)


def last_event_id(request: Request) -> int | None:
    """Of the header that browsers send by themselves; the query has it for the first time.

    Raises `InvalidRequestError`.
    """
    sent = request.headers.get("last-event-id") or request.query_params.get("last_event_id")
    if not sent:
        return None
    if not (sent.isascii() and sent.isdigit()) or int(sent) > MAX_EVENT_ID:
        message = f"It is the id of an event: 0 to {MAX_EVENT_ID}"
        raise InvalidRequestError(errors=[{"field": "Last-Event-ID", "message": message}])
    return int(sent)


def _accepted(header: str) -> str | None:
    for wanted in header.split(","):
        media_type, *parameters = (part.strip() for part in wanted.split(";"))
        if media_type.lower() != _MEDIA_TYPE:
            continue
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "protocol":
                return value.strip().strip('"')
    return None
