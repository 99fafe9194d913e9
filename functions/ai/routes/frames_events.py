"""A turn as TurnEvents: its type as `event:`, its sequence as `id:`, and JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from contracts.ai.turns import TurnEvent
from functions.ai.domain.channel import Listening
from functions.ai.domain.turns import Numbered, RestartEvent, Turn
from functions.ai.routes import wire


async def frames(turn: Listening) -> AsyncIterator[bytes]:
    """Its state; its events, those that came together as one write; its end."""
    yield _state("start", turn.after, turn.turn, None)
    async for events in turn.batches():
        yield b"".join(_frame(numbered) for numbered in events)
    outcome = await turn.outcome()
    if not outcome.turn.ended:
        # It went on elsewhere: who misses the end follows it again, or finds that it is gone.
        return
    draft = outcome.message.draft if outcome.message else None
    calls = wire.tool_data(draft.tool_calls) if draft else None
    yield _state("end", outcome.turn.last_event + 1, outcome.turn, calls)


def _frame(numbered: Numbered) -> bytes:
    event = numbered.event
    if isinstance(event, RestartEvent):
        fields: dict[str, Any] = {"provider": event.provider, "model": event.model}
        return _lines("restart", numbered.sequence, fields)
    return _lines("text", numbered.sequence, {"text": event.text})


def _lines(kind: str, sequence: int, fields: dict[str, Any]) -> bytes:
    data = json.dumps({"sequence": sequence, "type": kind, **fields}).encode()
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (sequence, kind.encode(), data)


def _state(kind: str, sequence: int, turn: Turn, calls: list[dict[str, Any]] | None) -> bytes:
    event = TurnEvent(sequence=sequence, type=kind, tool_calls=calls, turn=wire.turn(turn))
    data = event.model_dump_json().encode()
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (sequence, kind.encode(), data)
