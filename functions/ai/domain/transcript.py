"""A conversation as a text, for a model that is to tell of it and not to go on with it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from functions.ai.domain.models import Message, Session
from functions.ai.domain.ports import SessionStore
from functions.ai.domain.tokens import text_tokens
from functions.ai.domain.tool_data import calls_from_wire, results_from_wire

_SPEAKERS = {"user": "User", "assistant": "Assistant"}
_CUT = "\n[...]\n"
_FRAME_TOKENS = 1
"""Of what stands between two messages."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Messages up to the sequence `up_to` as a text, which is empty where nobody said anything."""

    text: str
    up_to: int


async def read_piece(
    store: SessionStore, session: Session, *, after: int, up_to: int, room: int
) -> Piece:
    """The session's messages above `after` up to `up_to`, as many as `room` tokens take.

    It ends between two exchanges if it can: whoever begins behind it does not lack the question.
    Of a single message that is too long the middle is left out.
    """
    told: list[str] = []
    ends: list[int] = []
    whole = 0  # texts that end with their exchange
    messages = store.messages(session, after=after, up_to=up_to)
    async with aclosing(cast("AsyncGenerator[Message]", messages)) as found:
        async for message in found:
            text = _spoken(message)
            if text and told and _begins(message):
                whole = len(told)
            needed = text_tokens(text)
            if needed > room:
                if not told:
                    return Piece(_shortened(text, room), message.sequence)
                count = whole or len(told)
                return Piece(_joined(told[:count]), ends[count - 1])
            if text:
                room -= needed + _FRAME_TOKENS
                told.append(text)
                ends.append(message.sequence)
    return Piece(_joined(told), up_to)


def _joined(told: Sequence[str]) -> str:
    return "\n\n".join(told)


def _begins(message: Message) -> bool:
    """Whether it is a question, with which an exchange begins."""
    return message.draft.role == "user" and not message.draft.tool_results


def _spoken(message: Message) -> str:
    draft = message.draft
    if draft.role == "system":
        return ""
    lines = [f"[{len(draft.images)} images]"] if draft.images else []
    lines += [
        f"[Result of {result.call_id}: {result.content}]"
        for result in results_from_wire(draft.tool_results)
    ]
    if draft.content.strip():
        lines.append(draft.content)
    lines += [
        f"[Calls {call.name} as {call.id}: {json.dumps(call.arguments, ensure_ascii=False)}]"
        for call in calls_from_wire(draft.tool_calls)
    ]
    if not lines:
        return ""
    if draft.incomplete:
        lines.append("[broke off]")
    return "\n".join([f"{_SPEAKERS[draft.role]}:", *lines])


def _shortened(text: str, room: int) -> str:
    """Its beginning and its end, as long as they fit."""
    kept = len(text)
    while kept and text_tokens(shorter := _ends(text, kept)) > room:
        # What is left out may be what takes the room: the share is only a guess.
        kept = min(kept - 1, kept * room // text_tokens(shorter))
    return _ends(text, kept) if kept else ""


def _ends(text: str, kept: int) -> str:
    if kept >= len(text):
        return text
    half = kept // 2
    return text[: kept - half] + _CUT + text[len(text) - half :]
