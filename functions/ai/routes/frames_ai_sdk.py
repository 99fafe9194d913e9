"""A turn as the UI message stream of the Vercel AI SDK (npm `ai`, major 7), for its `useChat`.

The answer is one step of one UI message, whose id is the turn's. A frame that stands for an event
has its `id:`; what a client needs around it goes before it, so that whoever resumes behind an id
misses nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any

from functions.ai.domain.channel import Listening
from functions.ai.domain.inference import Stop
from functions.ai.domain.models import ToolData
from functions.ai.domain.turns import Outcome, RestartEvent
from servicekit.errors import AppError

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}

_DONE = b"data: [DONE]\n\n"
_START_STEP = b'data: {"type":"start-step"}\n\n'
_FINISH_STEP = b'data: {"type":"finish-step"}\n\n'
_RESET_STEP = b'data: {"type":"reset-step"}\n\n'
_FINISH_REASONS: Mapping[Stop | None, str] = {
    "end": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "refused": "content-filter",
    None: "other",
}


async def frames(turn: Listening) -> AsyncIterator[bytes]:
    """The turn's chunks, those that came together as one write; then its end."""
    # Whoever has a part of the answer goes on in its step: a new one would keep that part from a
    # later restart.
    begun = turn.after not in (0, turn.turn.first_event - 1)
    yield _start(turn) + (b"" if begun else _START_STEP)
    # The open text's id, in JSON, and what is before each of its deltas.
    text_id, head = b"", b""
    async for events in turn.batches():
        parts: list[bytes] = []
        for numbered in events:
            event = numbered.event
            if isinstance(event, RestartEvent):
                text_id = b""
                metadata = {"provider": event.provider, "model": event.model}
                parts.append(_chunk("message-metadata", messageMetadata=metadata))
                parts.append(b"id: %d\n%b" % (numbered.sequence, _RESET_STEP))
                continue
            if not text_id:
                # The sequence: no other text of the message has it, not even in another stream.
                text_id = b'"%d"' % numbered.sequence
                head = b'\ndata: {"type":"text-delta","id":%b,"delta":' % text_id
                parts.append(b'data: {"type":"text-start","id":%b}\n\n' % text_id)
            text = json.dumps(event.text).encode()
            parts.append(b"id: %d%b%b}\n\n" % (numbered.sequence, head, text))
        yield b"".join(parts)
    end = b'data: {"type":"text-end","id":%b}\n\n' % text_id if text_id else b""
    yield end + _end(await turn.outcome())


def _start(turn: Listening) -> bytes:
    state = turn.turn
    metadata = {
        "session_id": state.session_id,
        "turn_id": state.turn_id,
        "provider": state.provider,
        "model": state.model,
    }
    return _chunk("start", messageId=state.turn_id, messageMetadata=metadata)


def _end(outcome: Outcome) -> bytes:
    draft = outcome.message.draft if outcome.message else None
    calls = _tool_calls(draft.tool_calls) if draft and draft.tool_calls else b""
    return calls + _FINISH_STEP + _last(outcome) + _DONE


def _tool_calls(calls: ToolData) -> bytes:
    return b"".join(
        _chunk(
            "tool-input-available",
            toolCallId=call["id"],
            toolName=call["function"]["name"],
            input=json.loads(call["function"]["arguments"]),
        )
        for call in calls
    )


def _last(outcome: Outcome) -> bytes:
    """What the stream ends with, the metadata first: `useChat` reads nothing behind an error."""
    turn, error = outcome.turn, outcome.error
    metadata = {
        "status": turn.status,
        "message_id": outcome.message.draft.number if outcome.message else None,
        "usage": asdict(turn.usage) if turn.usage else None,
        "cost": turn.cost,
    }
    # Only an end that is kept has a place among the events.
    number = b"id: %d\n" % (turn.last_event + 1) if turn.ended else b""
    if error is None:
        reason = _FINISH_REASONS[turn.stop]
        return number + _chunk("finish", finishReason=reason, messageMetadata=metadata)
    told = _chunk("message-metadata", messageMetadata={**metadata, "error": _error(error)})
    if turn.status == "cancelled":
        return told + number + _chunk("abort", reason=error.code)
    text = json.dumps(_error(error))
    return told + number + _chunk("error", errorText=text) + _chunk("finish", finishReason="error")


def _error(error: AppError) -> dict[str, str]:
    return {"code": error.code, "title": error.title}


def _chunk(kind: str, **fields: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps({"type": kind, **fields}, separators=(",", ":")).encode()
