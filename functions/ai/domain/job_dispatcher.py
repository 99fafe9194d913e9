"""From the table's stream: a new job goes to its queue, and whoever listens is told of changes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from functions.ai.domain.job_ports import (
    Change,
    JobChange,
    JobEvents,
    JobMessage,
    JobProgress,
    JobQueues,
    SummaryWanted,
)
from functions.ai.domain.job_progress import queued_note
from functions.ai.domain.turns import Priority

_REMEMBERED = 10_000


class JobDispatcher:
    """Handles changes of jobs, and summaries that are due. What fails makes the stream give the
    whole batch again.
    """

    def __init__(self, queues: JobQueues, events: JobEvents, progress: JobProgress) -> None:
        self._queues = queues
        self._events = events
        self._progress = progress
        # A second message of a job does no harm; but where events cannot be told for hours, each
        # repetition of a batch would send one.
        self._sent: OrderedDict[JobMessage, None] = OrderedDict()

    async def dispatch(self, changes: Sequence[Change]) -> None:
        """Sends messages of new jobs and of summaries, then tells of all changes of jobs. Whoever
        watches is told beside it.

        Raises `QueueUnavailableError` and `EventsUnavailableError`.
        """
        told = [change for change in changes if isinstance(change, JobChange)]
        new = [change.turn for change in told if change.before is None and change.turn.job]
        telling = asyncio.create_task(self._progress.tell([queued_note(turn) for turn in new]))
        try:
            await self._dispatch(changes)
        finally:
            # Its time is short, and a function stops with its answer.
            await telling

    async def _dispatch(self, changes: Sequence[Change]) -> None:
        waiting: dict[Priority, list[JobMessage]] = defaultdict(list)
        for asked in filter(None, map(_asked, changes)):
            if asked.message not in self._sent:
                waiting[asked.priority].append(asked.message)
        for priority, messages in waiting.items():
            await self._queues.send(priority, messages)
            self._remember(messages)
        await self._events.publish([c for c in changes if isinstance(c, JobChange)])

    def _remember(self, messages: Sequence[JobMessage]) -> None:
        self._sent.update(dict.fromkeys(messages))
        while len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)


class _Asked(NamedTuple):
    priority: Priority
    message: JobMessage


def _asked(change: Change) -> _Asked | None:
    """What the change has a worker do."""
    if isinstance(change, SummaryWanted):
        due = change.due
        message = JobMessage(change.turn_id, due.request_id, due.traceparent, "summary")
        return _Asked("normal", message)
    job = change.turn.job
    if change.before is not None or job is None:
        return None
    return _Asked(job.priority, JobMessage.of(change.turn))
