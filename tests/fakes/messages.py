"""Messages of a session, spelt briefly."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from functions.ai.domain.models import Draft, Message, Role

_NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def message(sequence: int, role: Role, content: str = "", **fields: Any) -> Message:
    """The message at a place of session s1."""
    return Message("s1", 5, sequence, Draft(sequence, role, content, _NOW, **fields))


def in_order(*said: Message) -> list[Message]:
    """Messages whose sequences rise."""
    assert [m.sequence for m in said] == sorted({m.sequence for m in said})
    return list(said)


def call(call_id: str, name: str = "t", arguments: str = "{}") -> dict[str, Any]:
    """A tool call as a message holds it."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def results(*call_ids: str) -> Sequence[dict[str, Any]]:
    """The results of calls, as a message holds them."""
    return [{"tool_call_id": call_id, "content": f"of {call_id}"} for call_id in call_ids]
