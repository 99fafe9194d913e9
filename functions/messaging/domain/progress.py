"""Progress: a message gets its place in its topic's log, and goes to whoever follows the topic."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from functions.messaging.domain.connections import ConnectionStore, Member
from functions.messaging.domain.frames import progress_frame
from functions.messaging.domain.push import Pushed, Pusher, PushFunctions, PushOrder
from servicekit.errors import AppError

INLINE_SHARDS = 2
INLINE_CONNECTIONS = 500
"""Topics with more shards or connections are pushed by other functions."""

FUNCTIONS_AT_ONCE = 16
"""That one message is handed to. Each sends some 500 frames a second, and API Gateway lets an
account have 10,000 requests a second."""

PUSH_SECONDS = 5.0
"""How long a call pushes: a poster waits for it."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """What somebody posts; `data` is compact JSON text."""

    topic: str
    data: str
    event_id: str | None = None
    terminal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message at its place: sequences of a topic begin at 1 and have no gap."""

    topic: str
    sequence: int
    at: datetime
    data: str
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a message; `handed_on` are calls of other functions."""

    topic: str
    sequence: int
    pushed: Pushed
    handed_on: int = 0


class ProgressLog(Protocol):
    """The messages of the last day. Every method raises `StoreUnavailableError`."""

    async def append(self, new: NewMessage) -> Message:
        """Gives the message the topic's next sequence, or the one that its event id has already.

        Raises `ProgressConflictError` when that is another message's.
        """

    async def head(self, topic: str) -> int:
        """The last sequence that was given, 0 before the first; consistent."""

    async def after(self, topic: str, sequence: int, limit: int) -> list[Message]:
        """At most `limit` messages behind a sequence, in order, consistent. Fewer do not mean that
        these are all: none does.
        """


class ProgressService:
    """Posts messages."""

    def __init__(
        self,
        log: ProgressLog,
        store: ConnectionStore,
        pusher: Pusher,
        functions: PushFunctions,
    ) -> None:
        self._log = log
        self._store = store
        self._pusher = pusher
        self._functions = functions

    async def post(self, new: NewMessage) -> Posted:
        """Logs and pushes a message. Raises `ProgressConflictError` and `StoreUnavailableError`:
        then it may be in the log all the same, and its event id tells.
        """
        return await self._post(new, _deadline())

    async def post_all(self, messages: Sequence[NewMessage]) -> list[Posted | AppError]:
        """What came of each; those of one topic are done in their order."""
        deadline = _deadline()
        results: dict[int, Posted | AppError] = {}
        by_topic: dict[str, list[int]] = defaultdict(list)
        for index, message in enumerate(messages):
            by_topic[message.topic].append(index)

        async def post_topic(indexes: Sequence[int]) -> None:
            for index in indexes:
                try:
                    results[index] = await self._post(messages[index], deadline)
                except AppError as error:
                    results[index] = error

        await asyncio.gather(*(post_topic(indexes) for indexes in by_topic.values()))
        return [results[index] for index in range(len(messages))]

    async def _post(self, new: NewMessage, deadline: float) -> Posted:
        message = await self._log.append(new)
        frame = progress_frame(message)
        # Only after the message is in the log may it be asked who follows. Whoever comes later
        # reads the log later, too: a client that resumes misses nothing between the two.
        members, shards = await self._followers(new.topic)
        if members is None:
            handed_on = await self._hand_on(new.topic, shards, frame)
            return Posted(new.topic, message.sequence, Pushed(), handed_on)
        pushed = await self._pusher.push(frame, members, deadline)
        return Posted(new.topic, message.sequence, pushed)

    async def _followers(self, topic: str) -> tuple[list[Member] | None, int]:
        """The members, None if they are too many, and how many shards they have."""
        # Nearly every topic has one shard: it is read while that is found out.
        first, counts = await asyncio.gather(
            self._store.members(topic, 0, INLINE_CONNECTIONS), self._store.shards([topic])
        )
        shards = counts[topic]
        if shards > INLINE_SHARDS:
            return None, shards
        others = await asyncio.gather(
            *(self._store.members(topic, n, INLINE_CONNECTIONS) for n in range(1, shards))
        )
        pages = [first, *others]
        members = [member for page in pages for member in page.members]
        if len(members) > INLINE_CONNECTIONS or any(page.next for page in pages):
            return None, shards
        return members, shards

    async def _hand_on(self, topic: str, shards: int, frame: str) -> int:
        width = -(-shards // FUNCTIONS_AT_ONCE)
        orders = [
            PushOrder(topic, first, min(first + width, shards), frame)
            for first in range(0, shards, width)
        ]
        taken = sum(await asyncio.gather(*(self._functions.hand_on(order) for order in orders)))
        if taken < len(orders):
            _logger.error("pushes not handed on", extra={"orders": len(orders) - taken})
        return taken


def _deadline() -> float:
    return asyncio.get_running_loop().time() + PUSH_SECONDS
