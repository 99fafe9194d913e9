"""From the table's stream: a new job goes to its queue, and whoever listens is told of changes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Sequence

from functions.ai.domain.job_ports import (
    JobChange,
    JobEvents,
    JobMessage,
    JobProgress,
    JobQueues,
)
from functions.ai.domain.job_progress import queued_note
from functions.ai.domain.turns import Job, Priority

_REMEMBERED = 10_000


class JobDispatcher:
    """Handles changes of jobs. What fails makes the stream give the whole batch again."""

    def __init__(self, queues: JobQueues, events: JobEvents, progress: JobProgress) -> None:
        self._queues = queues
        self._events = events
        self._progress = progress
        # A second message of a job does no harm; but where events cannot be told for hours, each
        # repetition of a batch would send one.
        self._sent: OrderedDict[str, None] = OrderedDict()

    async def dispatch(self, changes: Sequence[JobChange]) -> None:
        """Sends messages of new jobs, then tells of all changes. Whoever watches is told beside it.

        Raises `QueueUnavailableError` and `EventsUnavailableError`.
        """
        new = [change.turn for change in changes if change.before is None and change.turn.job]
        telling = asyncio.create_task(self._progress.tell([queued_note(turn) for turn in new]))
        try:
            await self._dispatch(changes)
        finally:
            # Its time is short, and a function stops with its answer.
            await telling

    async def _dispatch(self, changes: Sequence[JobChange]) -> None:
        waiting: dict[Priority, list[JobMessage]] = defaultdict(list)
        for change in changes:
            turn, job = change.turn, change.turn.job
            if change.before is None and job and turn.turn_id not in self._sent:
                waiting[job.priority].append(_message(turn.turn_id, job))
        for priority, messages in waiting.items():
            await self._queues.send(priority, messages)
            self._remember(messages)
        await self._events.publish(changes)

    def _remember(self, messages: Sequence[JobMessage]) -> None:
        self._sent.update(dict.fromkeys(message.turn_id for message in messages))
        while len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)


def _message(turn_id: str, job: Job) -> JobMessage:
    return JobMessage(turn_id, job.request_id, job.traceparent)
