"""What jobs need from outside beside the turns' store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

from functions.ai.domain.turns import Priority, SummaryDue, Turn, TurnStatus


@dataclass(frozen=True, slots=True)
class JobMessage:
    """What waits in a queue: whose turn it is, and the request that it belongs to. What is to be
    done is the turn, or the summary that it left to be made.
    """

    turn_id: str
    request_id: str | None = None
    traceparent: str | None = None
    task: Literal["turn", "summary"] = "turn"

    @classmethod
    def of(cls, turn: Turn) -> Self:
        """Of a job's turn."""
        job = turn.job
        if job is None:
            return cls(turn.turn_id)
        return cls(turn.turn_id, job.request_id, job.traceparent)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Under what a queue gave a message: `receives` counts how often, this time included."""

    queue: str
    receipt: str
    receives: int


@dataclass(frozen=True, slots=True)
class JobChange:
    """A job's turn that was stored; `before` is the status it had, None for a new one."""

    before: TurnStatus | None
    turn: Turn


@dataclass(frozen=True, slots=True)
class SummaryWanted:
    """A turn that was stored with a summary to be made."""

    turn_id: str
    due: SummaryDue


Change = JobChange | SummaryWanted


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressNote:
    """What is told of a job while it waits and runs: ids, counts and usage, never its text.

    Told again under the same `key`, it is the same note. One of a `new_status` is told to whoever
    watches the project, too. After a `terminal` one nothing more is expected.
    """

    turn_id: str
    project_id: int
    key: str
    data: Mapping[str, Any]
    new_status: bool = False
    terminal: bool = False


class JobProgress(Protocol):
    """Who watches jobs."""

    async def tell(self, notes: Sequence[ProgressNote]) -> None:
        """Tells it in a short time or not at all; raises nothing."""


class JobQueues(Protocol):
    """The queues, one for each priority."""

    async def send(self, priority: Priority, messages: Sequence[JobMessage]) -> None:
        """Sends messages. Raises `QueueUnavailableError` when one of them was not taken."""


class Deliveries(Protocol):
    """Messages that were given out and are not done."""

    async def hide(self, delivery: Delivery, seconds: int) -> None:
        """Gives the message out again in so many seconds. Raises `QueueUnavailableError`."""


class JobEvents(Protocol):
    """Who wants to know of jobs."""

    async def publish(self, changes: Sequence[JobChange]) -> None:
        """Tells of each change once more or for the first time, under the same id.

        Raises `EventsUnavailableError` when one of them was not taken.
        """
