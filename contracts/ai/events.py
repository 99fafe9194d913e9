"""AI v1: the events that the service puts on the environment's bus."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from contracts.ai import examples
from contracts.base import UtcDatetime, WireInt
from contracts.event import EventPayload, EventType

SOURCE = "santaclaude.ai"
"""The `source` of the service's events; their `detail-type` is the event type."""


class _JobEvent(EventPayload):
    """What both have. Delivery is at least once: a repetition has the same `event_id`."""

    event_id: Annotated[
        str | None, Field(description="Of this state of this job: repeated with a repetition.")
    ] = None
    job_id: str
    session_id: str
    request_id: Annotated[str | None, Field(description="Of the request that made it.")] = None
    traceparent: Annotated[str | None, Field(description="Of that request.")] = None


class AIJobQueued(_JobEvent):
    """A job was accepted."""

    EVENT_TYPE: ClassVar[str] = "ai.job.queued"

    project_id: WireInt
    user_id: WireInt
    priority: str = "normal"
    created_at: UtcDatetime


class AIJobUpdated(_JobEvent):
    """A job's status changed."""

    EVENT_TYPE: ClassVar[str] = "ai.job.updated"

    project_id: WireInt | None = None
    user_id: WireInt | None = None
    status: Annotated[str, Field(description="queued, running, completed, failed or cancelled.")]
    progress: Annotated[float | None, Field(description="From 0 to 1.")] = None
    result: Annotated[
        dict[str, Any] | None,
        Field(description="Of an ended job: ids, usage and cost, never the text."),
    ] = None
    error: Annotated[str | None, Field(examples=["provider_unavailable"])] = None
    updated_at: UtcDatetime


EVENTS = (
    EventType(AIJobQueued, examples.AI_JOB_QUEUED),
    EventType(AIJobUpdated, examples.AI_JOB_UPDATED),
)
