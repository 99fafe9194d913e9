"""A running turn's events: numbered, told to whoever listens, and stored a few at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from functions.ai.domain.channel import Channel
from functions.ai.domain.inference import Said
from functions.ai.domain.ports import TurnStore
from functions.ai.domain.turns import Event, Numbered, RestartEvent, TextEvent, Turn
from servicekit.clock import Clock

WRITE_SECONDS = 0.25
"""Between two writes of one turn's events: four a second at most."""

_logger = logging.getLogger(__name__)


class Journal:
    """The events of one attempt. What is not stored yet when it ends is stored with its end.

    Nothing is written once the attempt's lease has run out: another may have been begun since, and
    number its events alike.
    """

    def __init__(self, store: TurnStore, turn: Turn, channel: Channel, clock: Clock) -> None:
        self._store = store
        self._turn = turn
        self._channel = channel
        self._clock = clock
        self._lease_expires_at = turn.lease_expires_at
        self._pending = _restart(turn)
        self._writer: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self.first_event = turn.first_event
        self.last_event = turn.first_event - 1

    def say(self, said: Said) -> None:
        """The model said something."""
        self._add([TextEvent(text) for text in said])

    def restart(self, event: RestartEvent) -> None:
        """What was said no longer counts."""
        self._add([event])
        self.first_event = self.last_event + 1

    def renewed(self, lease_expires_at: int) -> None:
        """The attempt's lease has been renewed."""
        self._lease_expires_at = lease_expires_at

    async def close(self) -> list[Numbered]:
        """Ends the writing; returns what is not stored."""
        self._closing.set()
        if self._writer is not None:
            # A write that is on its way is let through: cut off, it might arrive all the same, and
            # later than what is written after it.
            await self._writer
        return self._pending

    def _add(self, events: Sequence[Event]) -> None:
        numbered = []
        for event in events:
            self.last_event += 1
            numbered.append(Numbered(self.last_event, event))
        self._pending.extend(numbered)
        self._channel.add(numbered)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._closing.wait()
            if self._closing.is_set():
                return
            if self._pending and self._clock().timestamp() < self._lease_expires_at:
                await self._store_pending()

    async def _store_pending(self) -> None:
        events = list(self._pending)
        try:
            await self._store.add_events(self._turn, events)
        except Exception:
            # The next write has them, or the turn's end: they are kept until then.
            _logger.warning("events not stored", exc_info=True)
            return
        del self._pending[: len(events)]


def _restart(turn: Turn) -> list[Numbered]:
    """What tells those who followed an earlier attempt that this one begins anew."""
    if turn.attempt == 1:
        return []
    return [Numbered(turn.first_event - 1, RestartEvent(turn.provider, turn.model))]
