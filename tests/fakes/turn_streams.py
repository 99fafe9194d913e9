"""Turns that were told to a channel, as a protocol's frames."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from functions.ai.domain.channel import Channel, Listening
from functions.ai.domain.inference import Usage
from functions.ai.domain.models import Draft, Message
from functions.ai.domain.turns import (
    EndStatus,
    Event,
    Numbered,
    Outcome,
    RestartEvent,
    TextEvent,
    Turn,
)
from servicekit.errors import AppError

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TURN = Turn(
    turn_id="turn-1",
    session_id="session-1",
    session_number=1,
    project_id=7,
    user_id=3,
    provider="bedrock",
    model="nova",
    question=1,
    status="running",
    created_at=NOW,
    updated_at=NOW,
)
METADATA = {
    "session_id": "session-1",
    "turn_id": "turn-1",
    "provider": "bedrock",
    "model": "nova",
}
USAGE = {
    "input": 10,
    "output": 4,
    "cache_read": 0,
    "cache_write": 0,
    "reasoning": 0,
    "cache_write_1h": 0,
}
RESTART = RestartEvent("openai", "gpt")
WEATHER = {
    "id": "call-1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Wien"}'},
}

Frames = Callable[[Listening], AsyncIterator[bytes]]


def numbered(*events: str | Event, after: int = 0) -> list[Numbered]:
    """Texts and other events from a sequence on."""
    return [
        Numbered(sequence, TextEvent(event) if isinstance(event, str) else event)
        for sequence, event in enumerate(events, after + 1)
    ]


def outcome(
    last_event: int,
    status: EndStatus = "completed",
    error: AppError | None = None,
    tool_calls: Sequence[dict[str, Any]] | None = None,
    **fields: Any,
) -> Outcome:
    """An end with a stored answer, which is message 12."""
    draft = Draft(12, "assistant", "not read", NOW, tool_calls=tool_calls)
    fields = {"usage": Usage(10, 4), "cost": "0.000012", "stop": None, **fields}
    ended = replace(TURN, status=status, last_event=last_event, **fields)
    return Outcome(ended, Message("session-1", 1, 2, draft), error)


async def told(
    frames: Frames,
    batches: Sequence[Sequence[Numbered]],
    end: Outcome,
    after: int = 0,
    turn: Turn = TURN,
) -> list[bytes]:
    """What is written of the turn, each batch by itself."""
    channel = Channel(turn)
    channel.after = after
    writes = frames(channel)
    written = []
    for batch in batches:
        channel.add(batch)
        # The first write is the beginning, which waits for nothing.
        written += [await anext(writes) for _ in range(1 if written else 2)]
    channel.end(end)
    return written + [write async for write in writes]
