"""A turn as TurnEvents: each its `id:`, its type as `event:`, and JSON; the last one is `end`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from contracts.ai.turns import TurnEvent
from functions.ai.domain.channel import Listening
from functions.ai.domain.turns import Numbered, Outcome, RestartEvent
from functions.ai.routes import wire


async def frames(turn: Listening) -> AsyncIterator[bytes]:
    """The turn's events, those that came together as one write; then its end."""
    async for events in turn.batches():
        yield b"".join(_frame(numbered) for numbered in events)
    yield _end(await turn.outcome())


def _frame(numbered: Numbered) -> bytes:
    event = numbered.event
    if isinstance(event, RestartEvent):
        fields: dict[str, Any] = {"provider": event.provider, "model": event.model}
        return _lines("restart", numbered.sequence, fields)
    return _lines("text", numbered.sequence, {"text": event.text})


def _lines(kind: str, sequence: int, fields: dict[str, Any]) -> bytes:
    data = json.dumps({"sequence": sequence, "type": kind, **fields}).encode()
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (sequence, kind.encode(), data)


def _end(outcome: Outcome) -> bytes:
    sequence = outcome.turn.last_event + 1
    draft = outcome.message.draft if outcome.message else None
    event = TurnEvent(
        sequence=sequence,
        type="end",
        tool_calls=wire.tool_data(draft.tool_calls) if draft else None,
        turn=wire.turn(outcome.turn),
    )
    return b"id: %d\nevent: end\ndata: %b\n\n" % (sequence, event.model_dump_json().encode())
