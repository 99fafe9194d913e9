"""From the table's stream: a new job goes to its queue, and whoever listens is told of changes."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Sequence

from functions.ai.domain.job_ports import JobChange, JobEvents, JobMessage, JobQueues
from functions.ai.domain.turns import Priority

_REMEMBERED = 10_000


class JobDispatcher:
    """Handles changes of jobs. What fails makes the stream give the whole batch again."""

    def __init__(self, queues: JobQueues, events: JobEvents) -> None:
        self._queues = queues
        self._events = events
        # A second message of a job does no harm; but where events cannot be told for hours, each
        # repetition of a batch would send one.
        self._sent: OrderedDict[str, None] = OrderedDict()

    async def dispatch(self, changes: Sequence[JobChange]) -> None:
        """Sends messages of new jobs, then tells of all changes.

        Raises `QueueUnavailableError` and `EventsUnavailableError`.
        """
        waiting: dict[Priority, list[JobMessage]] = defaultdict(list)
        for change in changes:
            turn, job = change.turn, change.turn.job
            if change.before is None and job and turn.turn_id not in self._sent:
                waiting[job.priority].append(JobMessage.of(turn))
        for priority, messages in waiting.items():
            await self._queues.send(priority, messages)
            self._remember(messages)
        await self._events.publish(changes)

    def _remember(self, messages: Sequence[JobMessage]) -> None:
        self._sent.update(dict.fromkeys(message.turn_id for message in messages))
        while len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
