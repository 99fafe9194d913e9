"""A turn: one question to a model and what becomes of it, under one id from start to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from functions.ai.domain.budgets import BudgetSettlement
from functions.ai.domain.inference import Stop, Usage
from functions.ai.domain.models import Draft, Message
from functions.ai.domain.usage import Charge
from servicekit.errors import AppError

TurnStatus = Literal["queued", "running", "completed", "failed", "cancelled"]
EndStatus = Literal["completed", "failed", "cancelled"]
Priority = Literal["high", "normal"]

LEASE_SECONDS = 20
"""How long a turn counts as running without a sign of life: what a crash makes others wait."""

JOB_PATIENCE_SECONDS = 1_200
"""How much longer a job counts as running: its message comes again, to a process that goes on."""

ENDED: frozenset[TurnStatus] = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a turn failed, as it is told now and later: never a provider's own words."""

    code: str
    title: str
    status: int

    @classmethod
    def of(cls, error: AppError) -> Failure:
        """The lasting part of an error."""
        return cls(error.code, error.title, error.status)


class TurnFailedError(AppError):
    """A turn's failure, told once more."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.code = failure.code  # type: ignore[misc]
        self.title = failure.title  # type: ignore[misc]
        self.status = failure.status  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class Job:
    """What a turn has that waits in a queue: which one, and the request that put it there."""

    priority: Priority
    request_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class SummaryDue:
    """What a completed turn's prompt left out: messages up to the sequence `up_to`, of which no
    summary told. Request and trace are the turn's.
    """

    up_to: int
    request_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """The state of a turn.

    `question` and `answer` are sequences of its messages, `message_id` the answer's integer id.
    `attempt` counts from 1; whoever runs the turn owns that attempt as long as its lease lasts.
    `first_event` is the attempt's first event (before that of a later attempt is a restart),
    `last_event` the last one of an ended turn. `usage`
    is what was billed, None where nobody said or it is not known yet; `delivered_tokens` are those
    of the answer that was kept, where a cancellation made them fewer. Without `job` somebody waits
    for it who began it. `summary` is what it leaves to be done by a worker.
    """

    turn_id: str
    session_id: str
    session_number: int
    project_id: int
    user_id: int
    provider: str
    model: str
    question: int
    status: TurnStatus
    created_at: datetime
    updated_at: datetime
    attempt: int = 1
    lease_expires_at: int = 0
    cancelling: bool = False
    first_event: int = 1
    last_event: int = 0
    answer: int | None = None
    message_id: int | None = None
    usage: Usage | None = None
    usage_estimated: bool = False
    delivered_tokens: int | None = None
    cost: str | None = None
    stop: Stop | None = None
    failure: Failure | None = None
    job: Job | None = None
    summary: SummaryDue | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more, unless the turn is tried again."""
        return self.status in ENDED

    def idle(self, now: datetime) -> bool:
        """Whether it has not ended, and no process is at work on it."""
        if self.status == "running":
            return self.lease_expires_at <= now.timestamp()
        return self.status == "queued"

    def abandoned(self, now: datetime) -> bool:
        """Whether its process is gone, and none goes on with it by itself."""
        patience = JOB_PATIENCE_SECONDS if self.job else 0
        return self.status == "running" and self.lease_expires_at + patience <= now.timestamp()

    def again(self, at: datetime, **fields: Any) -> Turn:
        """The next attempt: of the one before only its place among the events is left."""
        changes: dict[str, Any] = {
            "attempt": self.attempt + 1,
            "updated_at": at,
            "lease_expires_at": 0,
            "cancelling": False,
            # One place is the restart's.
            "first_event": self.last_event + 2,
            "answer": None,
            "message_id": None,
            "usage": None,
            "usage_estimated": False,
            "delivered_tokens": None,
            "cost": None,
            "stop": None,
            "failure": None,
            "summary": None,
        }
        return replace(self, **(changes | fields))

    def concluded(self, ending: Ending, message: Message | None) -> Turn:
        """The turn after the end of its attempt, with its answer at its place, if there is one."""
        ended = replace(
            self,
            status=ending.status,
            updated_at=ending.at,
            last_event=ending.last_event,
            first_event=ending.first_event or self.first_event,
            provider=ending.model[0] if ending.model else self.provider,
            model=ending.model[1] if ending.model else self.model,
            answer=message.sequence if message else None,
            message_id=message.draft.number if message else None,
            stop=ending.stop,
            failure=ending.failure,
            summary=ending.summary,
        )
        return ended.billed(ending.bill) if ending.bill else ended

    def billed(self, bill: Bill) -> Turn:
        """The turn with what it cost."""
        return replace(
            self,
            usage=bill.usage,
            usage_estimated=bill.estimated,
            cost=bill.cost,
            delivered_tokens=bill.delivered_tokens,
        )


@dataclass(frozen=True, slots=True)
class TextEvent:
    """The model said this."""

    text: str


@dataclass(frozen=True, slots=True)
class RestartEvent:
    """The answer begins anew: what was said before it no longer counts."""

    provider: str
    model: str


Event = TextEvent | RestartEvent


@dataclass(frozen=True, slots=True)
class Numbered:
    """An event at its place; sequences count from 1 within the turn, without a gap."""

    sequence: int
    event: Event


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended: its last state, the message that was stored, if any, and the error."""

    turn: Turn
    message: Message | None
    error: AppError | None


@dataclass(frozen=True, slots=True)
class Bill:
    """What an attempt used and cost, `estimated` where its provider did not tell; both None where
    it was not billed. `charges` and `settlement` are what is written down of it.
    """

    usage: Usage | None = None
    cost: str | None = None
    delivered_tokens: int | None = None
    estimated: bool = False
    charges: tuple[Charge, ...] = ()
    settlement: BudgetSettlement | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ends: what is stored at once.

    `draft` is the answer, or as much of it as there is; `events` are those that are not stored
    yet. Without `bill` that is still to come. `first_event` and `model` (its provider's name and
    its own) are given where the answer began anew, or was another model's. With a `summary` whoever
    reads the table's stream has one made.
    """

    status: EndStatus
    at: datetime
    last_event: int
    first_event: int | None = None
    model: tuple[str, str] | None = None
    draft: Draft | None = None
    failure: Failure | None = None
    stop: Stop | None = None
    events: Sequence[Numbered] = ()
    bill: Bill | None = field(default_factory=Bill)
    summary: SummaryDue | None = None


Signal = Literal["go", "cancel", "lost"]
"""What a running turn is told: to go on, to stop, or that the attempt is no longer its own."""


def lease_from(now: datetime) -> int:
    """When a lease that is taken or renewed now runs out."""
    return int(now.timestamp()) + LEASE_SECONDS
