"""What whoever watches a job is told while it runs: states, counts and usage, never its text.

Nothing of it may hold a job up or have it fail: it is said beside the work, a few times a second,
and what is not said in time is left out. What became of the job is in its turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import Any

from functions.ai.domain.channel import Channel
from functions.ai.domain.job_ports import JobProgress, ProgressNote
from functions.ai.domain.turns import ENDED, RestartEvent, TextEvent, Turn

INTERVAL_SECONDS = 0.25
"""Between two notes of one job: four a second at most."""

LAST_SECONDS = 1.0
"""How long an attempt that is over waits for what is being told of it."""

END_SECONDS = 2.0
"""How long it then waits until its end is told."""

_logger = logging.getLogger(__name__)


def queued_note(turn: Turn) -> ProgressNote:
    """Of a new job; told again, it is the same note."""
    return _note(turn, f"{turn.turn_id}-queued", status="queued")


def state_note(turn: Turn) -> ProgressNote:
    """Of what a job has become: at work, over, or queued for another attempt."""
    facts: dict[str, Any] = {}
    if turn.ended and turn.usage is not None:
        facts = {"usage": asdict(turn.usage), "cost": turn.cost}
    if turn.ended and turn.failure is not None:
        facts["error"] = turn.failure.code
    key = f"{turn.turn_id}-{turn.attempt}-{turn.status}"
    return _note(turn, key, status=turn.status, **facts)


class JobReporter:
    """Tells of jobs that a worker has."""

    def __init__(self, progress: JobProgress) -> None:
        self._progress = progress

    @asynccontextmanager
    async def following(self, channel: Channel) -> AsyncIterator[None]:
        """Tells how the channel's turn goes on, while the block works on it."""
        following = asyncio.create_task(self._follow(channel))
        try:
            yield
            # What is on its way is let through, so that the end is told after it.
            await asyncio.wait({following}, timeout=LAST_SECONDS)
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    async def settled(self, turn: Turn) -> None:
        """Tells what a job has become, in `END_SECONDS` or not at all."""
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._progress.tell([state_note(turn)])

    async def _follow(self, channel: Channel) -> None:
        try:
            await self._progress.tell([state_note(channel.turn)])
            await self._count(channel)
        except Exception:
            _logger.exception("the job goes on untold")

    async def _count(self, channel: Channel) -> None:
        timer = asyncio.get_running_loop().time
        counts = _Counts(channel.turn)
        told_at = 0.0
        async for events in channel.batches():
            for numbered in events:
                counts.add(numbered.event)
            # The first text is what somebody waits for: it is told at once.
            if counts.news and (counts.first or timer() - told_at >= INTERVAL_SECONDS):
                told_at = timer()
                await self._progress.tell([counts.note()])


class _Counts:
    """What there is of an answer that is not complete."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._characters = self._restarts = self._told = 0
        self.news = self.first = False

    def add(self, event: TextEvent | RestartEvent) -> None:
        if isinstance(event, TextEvent):
            self.first = self.first or (not self._characters and not self._told)
            self._characters += len(event.text)
        else:
            self._characters = 0
            self._restarts += 1
        self.news = True

    def note(self) -> ProgressNote:
        """A note of what there is now."""
        stage = "first_text" if self.first else "progress"
        self.news = self.first = False
        self._told += 1
        turn = self._turn
        return _note(
            turn,
            f"{turn.turn_id}-{turn.attempt}-progress-{self._told}",
            status="running",
            stage=stage,
            characters=self._characters,
            restarts=self._restarts,
        )


def _note(
    turn: Turn, key: str, *, status: str, stage: str | None = None, **facts: Any
) -> ProgressNote:
    data = {
        "job_id": turn.turn_id,
        "session_id": turn.session_id,
        "project_id": turn.project_id,
        "attempt": turn.attempt,
        "status": status,
        **({"stage": stage} if stage else {}),
        **facts,
    }
    return ProgressNote(
        turn_id=turn.turn_id,
        project_id=turn.project_id,
        key=key,
        data=data,
        new_status=stage is None,
        terminal=status in ENDED,
    )
