"""A turn as server-sent events, one `data:` line per chunk."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.types import Receive, Scope, Send

from functions.ai.domain.turn import Outcome, Turn

_DONE = b"data: [DONE]\n\n"
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
)


class EventStreamResponse:
    """Sends frames as they come. A client that left is not noticed: the turn goes on anyway."""

    def __init__(self, frames: AsyncIterator[bytes]) -> None:
        self._frames = frames

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": list(_HEADERS)}
        await send(start)
        async for frame in self._frames:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def frames(turn: Turn) -> AsyncIterator[bytes]:
    """The turn's chunks, those that came together as one write; then its end."""
    chunk: dict[str, Any] = {
        "session_id": turn.session_id,
        "chunk": "",
        "finished": False,
        "message_id": None,
    }
    async for texts in turn.texts():
        parts = []
        for text in texts:
            chunk["chunk"] = text
            parts.append(b"data: %b\n\n" % json.dumps(chunk).encode())
        yield b"".join(parts)
    yield _last(turn.session_id, await turn.outcome()) + _DONE


def _last(session_id: str, outcome: Outcome) -> bytes:
    stored = outcome.message
    chunk: dict[str, Any] = {
        "session_id": session_id,
        "chunk": "",
        "finished": True,
        "message_id": stored.draft.number if stored else None,
    }
    if outcome.error is not None:
        chunk["error"] = {"code": outcome.error.code, "title": outcome.error.title}
    return b"data: %b\n\n" % json.dumps(chunk).encode()
