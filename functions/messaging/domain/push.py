"""A message goes to connections: many at once, none waited for too long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from functions.messaging.domain.connections import ConnectionStore, Member
from functions.messaging.domain.sockets import (
    ConnectionBusyError,
    ConnectionGoneError,
    SendingFailedError,
    Sockets,
)
from servicekit.backoff import full_jitter
from servicekit.clock import Clock
from servicekit.errors import StoreUnavailableError

AT_ONCE = 32
PAGE = 500

SETTLING = timedelta(seconds=30)
"""A connection is stored before it is open, and API Gateway waits 29 s for that: as long as it is
so young, that it is not there means that it is not there yet."""

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of a push: to how many it was sent, how many are closed, and how many it did not
    reach in time.
    """

    pushed: int = 0
    gone: int = 0
    late: int = 0

    def __add__(self, other: Pushed) -> Pushed:
        return Pushed(self.pushed + other.pushed, self.gone + other.gone, self.late + other.late)


@dataclass(frozen=True, slots=True)
class PushOrder:
    """A frame for the members of the shards from `first_shard` to before `end_shard`."""

    topic: str
    first_shard: int
    end_shard: int
    frame: str


class PushFunctions(Protocol):
    """Other processes that push."""

    async def hand_on(self, order: PushOrder) -> bool:
        """Has the order done elsewhere, at least once; False when it was not taken."""


class Pusher:
    """Sends frames. What is closed is forgotten; what is throttled is tried until the deadline."""

    def __init__(self, sockets: Sockets, store: ConnectionStore, clock: Clock) -> None:
        self._sockets = sockets
        self._store = store
        self._clock = clock

    async def push(self, frame: str, members: Sequence[Member], deadline: float) -> Pushed:
        """Sends a frame to each member; `deadline` is a time of the event loop."""
        waiting = iter(members)
        counts = {"pushed": 0, "gone": 0}
        senders = [
            asyncio.create_task(self._send_each(frame, waiting, deadline, counts))
            for _ in range(min(AT_ONCE, len(members)))
        ]
        try:
            if senders:
                await asyncio.wait(senders, timeout=max(0, deadline - _now()))
        finally:
            # Whatever is still on its way may arrive; it counts as late.
            for sender in senders:
                sender.cancel()
        for failure in await asyncio.gather(*senders, return_exceptions=True):
            if isinstance(failure, Exception):
                raise failure
        late = len(members) - sum(counts.values())
        if late:
            _logger.warning("not reached in time", extra={"connections": late})
        return Pushed(counts["pushed"], counts["gone"], late)

    async def run(self, order: PushOrder, deadline: float) -> Pushed:
        """Does an order, page by page. Raises `StoreUnavailableError`; it may be done again."""
        done = Pushed()
        for shard in range(order.first_shard, order.end_shard):
            start = None
            while True:
                page = await self._store.members(order.topic, shard, PAGE, start)
                done += await self.push(order.frame, page.members, deadline)
                start = page.next
                if start is None:
                    break
        return done

    async def _send_each(
        self, frame: str, waiting: Iterator[Member], deadline: float, counts: dict[str, int]
    ) -> None:
        for member in waiting:
            outcome = await self._send(frame, member, deadline)
            if outcome:
                counts[outcome] += 1

    async def _send(self, frame: str, member: Member, deadline: float) -> str | None:
        attempt = 0
        while True:
            try:
                await self._sockets.send(member.connection_id, frame)
            except ConnectionGoneError:
                return await self._gone(member)
            except SendingFailedError:
                return None
            except ConnectionBusyError:
                wait = full_jitter(attempt, _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
                if _now() + wait >= deadline:
                    return None
                await asyncio.sleep(wait)
                attempt += 1
            else:
                return "pushed"

    async def _gone(self, member: Member) -> str | None:
        if self._clock() - member.connected_at < SETTLING:
            # It resumes as soon as it is open.
            return None
        try:
            await self._store.remove(member.connection_id, member)
        except StoreUnavailableError:
            # The next push meets it again.
            _logger.warning("a closed connection was not removed")
        return "gone"


def _now() -> float:
    return asyncio.get_running_loop().time()
