"""The one-way channel between a turn, which runs to its end, and whoever still listens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from functions.ai.domain.turns import Numbered, Outcome, Turn

SILENCE_SECONDS = 10.0
"""How long a listener hears nothing before it is told that there is nothing."""


class Listening(Protocol):
    """A turn as somebody follows it, from the process that runs it or from the store."""

    turn: Turn
    after: int
    """The sequence behind which it begins."""

    async def started(self) -> None:
        """Waits for the first event or the end; raises the error of a turn that ended without."""

    def batches(self) -> AsyncIterator[Sequence[Numbered]]:
        """Events that came together, until the turn ends; none after `SILENCE_SECONDS` of it."""

    async def outcome(self) -> Outcome:
        """How it ended, once `batches` are through."""

    async def finished(self) -> None:
        """Waits until nothing is left to do in this process: a function stops with its answer."""


class Channel:
    """`Listening` in the process that runs the turn."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.after = turn.first_event - 1
        self._events: list[Numbered] = []
        self._news = asyncio.Event()
        self._said = False
        self._outcome: Outcome | None = None
        self._finished = asyncio.Event()
        self._last_news = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, events: Sequence[Numbered]) -> None:
        """What came since the last time. After the end it is not heard."""
        if self._outcome is None:
            self._events.extend(events)
            self._said = True
            self._news.set()

    def end(self, outcome: Outcome) -> None:
        """Nothing comes after it; of several ends the first one counts."""
        if self._outcome is None:
            self._outcome = outcome
            self._news.set()

    def finish(self) -> None:
        """Nothing is left to do."""
        self._finished.set()

    async def started(self) -> None:
        """See `Listening`."""
        await self._news.wait()
        if self._outcome and self._outcome.error and not self._said:
            raise self._outcome.error

    async def batches(self) -> AsyncIterator[Sequence[Numbered]]:
        """See `Listening`."""
        loop = asyncio.get_running_loop()
        self._last_news = loop.time()
        # One timer at a time that looks after the silence: none is made for an event.
        self._timer = loop.call_later(SILENCE_SECONDS, self._mind_silence)
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                events, self._events = self._events, []
                if events or self._outcome is None:
                    self._last_news = loop.time()
                    yield events
                if self._outcome and not self._events:
                    self._news.set()
                    return
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def outcome(self) -> Outcome:
        """See `Listening`."""
        while self._outcome is None:
            await self._news.wait()
            if self._outcome is None:
                self._news.clear()
        return self._outcome

    async def finished(self) -> None:
        """See `Listening`."""
        await self._finished.wait()

    def _mind_silence(self) -> None:
        loop = asyncio.get_running_loop()
        left = self._last_news + SILENCE_SECONDS - loop.time()
        if left <= 0:
            self._news.set()
            left = SILENCE_SECONDS
        self._timer = loop.call_later(left, self._mind_silence)
