"""A turn as v1 has it: one `data:` line per StreamingChatChunk, then `[DONE]`.

A caller of v1 adds up what it gets: an answer that begins anew ends its stream in error, and it
keeps the text that it has.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from functions.ai.domain.channel import Listening
from functions.ai.domain.turns import Outcome, RestartEvent, Turn

_DONE = b"data: [DONE]\n\n"
_RESTARTED = {"code": "answer_restarted", "title": "The answer began anew"}


async def frames(turn: Listening) -> AsyncIterator[bytes]:
    """The turn's chunks, those that came together as one write; then its end."""
    session_id = turn.turn.session_id
    head = f'data: {{"session_id": {json.dumps(session_id)}, "chunk": '.encode()
    tail = b', "finished": false, "message_id": null}\n\n'
    async for events in turn.batches():
        parts: list[bytes] = []
        for numbered in events:
            event = numbered.event
            if isinstance(event, RestartEvent):
                yield b"".join(parts) + _last(session_id, numbered.sequence, None, _RESTARTED)
                return
            text = json.dumps(event.text).encode()
            parts.append(b"id: %d\n%b%b%b" % (numbered.sequence, head, text, tail))
        yield b"".join(parts)
    outcome = await turn.outcome()
    message_id = outcome.message.draft.number if outcome.message else None
    yield _last(session_id, end_of(outcome.turn), message_id, _error(outcome))


def end_of(turn: Turn) -> int | None:
    """The id of a turn's end; None where it went on elsewhere, and this is not its end."""
    return turn.last_event + 1 if turn.ended else None


def _error(outcome: Outcome) -> dict[str, str] | None:
    error = outcome.error
    return None if error is None else {"code": error.code, "title": error.title}


def _last(
    session_id: str, sequence: int | None, message_id: int | None, error: dict[str, str] | None
) -> bytes:
    chunk: dict[str, Any] = {
        "session_id": session_id,
        "chunk": "",
        "finished": True,
        "message_id": message_id,
    }
    if error is not None:
        chunk["error"] = error
    place = b"" if sequence is None else b"id: %d\n" % sequence
    return b"%bdata: %b\n\n" % (place, json.dumps(chunk).encode()) + _DONE
