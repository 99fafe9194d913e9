"""The end of a session, as far as a model may want it.

It is read from the newest message back, until what was read is more than the model's window takes
at any rate. What `context.fit` makes of it does not depend on where the reading stopped: a long
session costs no more than a full window, and is no error.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from functions.ai.domain.inference import Text
from functions.ai.domain.models import Message, Session
from functions.ai.domain.ports import SessionStore
from functions.ai.domain.tokens import BYTES_PER_TOKEN, parts_tokens
from functions.ai.domain.tool_data import calls_from_wire, results_from_wire

MAX_MESSAGES = 2_000
"""However short they are."""

FIRST_MESSAGES = 20
"""Of a session that is not read to its beginning: the system messages among them count."""

_ALIGNMENT = 500
_UNKNOWN_WINDOW = 300_000
_WASTE = 3
_BYTES_OF_MESSAGE = 1_000
_MIN_PAGE = 25


class History:
    """The messages that a model is sent, oldest first."""

    def __init__(self, store: SessionStore, session: Session, window: int | None) -> None:
        self._store = store
        self._session = session
        self._window = window or _UNKNOWN_WINDOW
        # Some of what is stored is never sent, and takes memory all the same.
        self._max_bytes = self._window * BYTES_PER_TOKEN * _WASTE
        self._system: list[Message] = []
        self._newest: list[Message] = []

    @property
    def messages(self) -> list[Message]:
        """What was read and added."""
        return [*self._system, *self._newest]

    def add(self, message: Message) -> None:
        """Puts a message behind the last one."""
        self._newest.append(message)

    async def read(self, up_to: int) -> None:
        """Reads up to a sequence; a second time what came behind the last one that is there."""
        end = self._newest[-1].sequence if self._newest else 0
        found: list[Message] = []
        size = tokens = 0
        async with aclosing(self._read(after=end, up_to=up_to)) as newest:
            async for message in newest:
                found.append(message)
                size += _size(message)
                tokens += _tokens(message)
                enough = tokens > self._window or size > self._max_bytes
                if enough or len(found) == MAX_MESSAGES:
                    break
            else:
                self._newest += found[::-1]
                return
        # What was there before lies behind a gap.
        self._newest = found[::-1] if enough else _aligned(found[::-1])
        self._system = await self._first_system_messages()

    async def _first_system_messages(self) -> list[Message]:
        before = min(self._newest[0].sequence - 1, FIRST_MESSAGES)
        if not before:
            return []
        async with aclosing(self._read(after=0, up_to=before)) as first:
            found = [message async for message in first if message.draft.role == "system"]
        return found[::-1]

    def _read(self, *, after: int, up_to: int) -> AsyncGenerator[Message]:
        bytes_ = self._window * BYTES_PER_TOKEN
        page = max(_MIN_PAGE, min(MAX_MESSAGES, bytes_ // _BYTES_OF_MESSAGE))
        messages = self._store.messages(
            self._session, after=after, up_to=up_to, newest_first=True, page_size=page
        )
        return cast("AsyncGenerator[Message]", messages)


def _aligned(messages: list[Message]) -> list[Message]:
    """Cut where the next turns cut too: a prompt that begins elsewhere each turn is in no cache."""
    start = next(
        (place for place, message in enumerate(messages) if message.sequence % _ALIGNMENT == 1), 0
    )
    return messages[start:]


def _tokens(message: Message) -> int:
    """What a prompt takes of the message at least."""
    draft = message.draft
    if draft.incomplete:
        return 0  # a complete answer may have followed
    calls, results = calls_from_wire(draft.tool_calls), results_from_wire(draft.tool_results)
    texts = [Text(draft.content)] if draft.content.strip() else []
    return parts_tokens([*draft.images, *texts, *calls, *results, *draft.opaque])


def _size(message: Message) -> int:
    draft = message.draft
    data: Any = [draft.tool_calls, draft.tool_results, [part.content for part in draft.opaque]]
    return len(draft.content.encode("utf-8", "surrogatepass")) + len(json.dumps(data))
