"""AI v1: jobs, whose id is that of their turn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from contracts.ai.turns import TurnError
from contracts.ai.v1 import ChatQuestion
from contracts.base import UtcDatetime, WireInt, WireModel

Priority = Literal["high", "normal"]


class JobCreate(ChatQuestion):
    """A ChatQuestion that nobody waits for."""

    priority: Annotated[
        Priority,
        Field(description="Of two queues: the normal one does not slow down the high one."),
    ] = "normal"


class JobQueued(WireModel):
    """The job is stored, and will be run."""

    job_id: Annotated[str, Field(examples=["0199f3a2-7c1e-7d8b-9a51-3f0c2b6d4e12"])]
    status: Annotated[str, Field(examples=["queued"])] = "queued"
    session_id: str


class Job(WireModel):
    """A job, and what became of it."""

    job_id: Annotated[str, Field(description="The turn's id: follow and cancel it by that.")]
    session_id: str
    project_id: WireInt
    user_id: WireInt
    status: Annotated[str, Field(description="queued, running, completed, failed or cancelled.")]
    priority: Annotated[str, Field(description="high or normal.")]
    progress: Annotated[float | None, Field(description="From 0 to 1.")] = None
    result: Annotated[
        dict[str, Any] | None,
        Field(description="Of an ended job: ids, usage and cost. The text is in the session."),
    ] = None
    error: TurnError | None = None
    created_at: UtcDatetime
    updated_at: UtcDatetime
