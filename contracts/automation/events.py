"""Events of automations: jobs that a project's rules start by themselves."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from contracts.base import UtcDatetime, WireId
from contracts.event import EventPayload, EventType


class AutomationJobStarted(EventPayload):
    """An automation began."""

    EVENT_TYPE: ClassVar[str] = "automation.job.started"

    job_id: Annotated[str, Field(min_length=1)]
    project_id: WireId
    user_id: Annotated[WireId | None, Field(description="Who asked for it, if a person did.")] = (
        None
    )
    card_id: WireId | None = None
    automation: Annotated[str | None, Field(examples=["triage"])] = None
    trigger: Annotated[str | None, Field(description="The type of the event that started it.")] = (
        None
    )
    started_at: UtcDatetime


class AutomationJobCompleted(EventPayload):
    """An automation ended, well or not."""

    EVENT_TYPE: ClassVar[str] = "automation.job.completed"

    job_id: Annotated[str, Field(min_length=1)]
    project_id: WireId
    user_id: WireId | None = None
    card_id: WireId | None = None
    automation: str | None = None
    status: Literal["completed", "failed", "cancelled"] = "completed"
    result: Annotated[
        dict[str, Any] | None, Field(description="Ids and figures, never a text.")
    ] = None
    error: Annotated[str | None, Field(description="A code.")] = None
    completed_at: UtcDatetime


_JOB: dict[str, Any] = {
    "job_id": "01KASM9C5B2H6K3T8Y4R1WQ7ZE",
    "project_id": 7,
    "user_id": 3,
    "card_id": 42,
    "automation": "triage",
}

EVENTS = (
    EventType(
        AutomationJobStarted,
        {**_JOB, "trigger": "card.created", "started_at": "2026-01-05T09:30:00.218000Z"},
    ),
    EventType(
        AutomationJobCompleted,
        {
            **_JOB,
            "status": "completed",
            "result": {"labels_added": 2},
            "error": None,
            "completed_at": "2026-01-05T09:30:04.218000Z",
        },
    ),
)
