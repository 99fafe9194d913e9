"""The one-way channel between a turn, which runs to its end, and whoever still listens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from functions.ai.domain.models import Message
from servicekit.errors import AppError


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended: with the stored answer, or with an error (and what was kept, if any)."""

    message: Message | None
    error: AppError | None


class Turn:
    """A model's answer on its way: texts first, then one outcome."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self._texts: list[str] = []
        self._news = asyncio.Event()
        self._outcome: Outcome | None = None

    def add(self, texts: Sequence[str]) -> None:
        """What the model said since the last time."""
        self._texts.extend(texts)
        self._news.set()

    def end(self, outcome: Outcome) -> None:
        """Nothing comes after it."""
        self._outcome = outcome
        self._news.set()

    async def started(self) -> None:
        """Waits for the first text or the end; raises the error of a turn that failed before it."""
        await self._news.wait()
        if self._outcome and self._outcome.error and not self._texts:
            raise self._outcome.error

    async def texts(self) -> AsyncIterator[list[str]]:
        """What came since the last round, until the turn ends."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._texts:
                texts, self._texts = self._texts, []
                yield texts
            if self._outcome and not self._texts:
                self._news.set()
                return

    async def outcome(self) -> Outcome:
        """The end of the turn, once `texts` are through."""
        while self._outcome is None:
            await self._news.wait()
            if self._outcome is None:
                self._news.clear()
        return self._outcome
