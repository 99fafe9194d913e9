"""The message service's own events."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from contracts.base import UtcDatetime, WireCount, WireId
from contracts.event import EventPayload, EventType


class WebhookSubscriptionDisabled(EventPayload):
    """A subscription gets no more events, because its endpoint did nothing but fail."""

    EVENT_TYPE: ClassVar[str] = "webhook.subscription.disabled"

    subscription_id: Annotated[str, Field(min_length=1)]
    project_id: Annotated[WireId | None, Field(description="Whose it is, if a project's.")] = None
    reason: Annotated[str, Field(description="A code.", examples=["endpoint_failing"])]
    failures: Annotated[WireCount | None, Field(description="Deliveries in a row that failed.")] = (
        None
    )
    last_error: Annotated[
        str | None, Field(description="Code of the last failure.", examples=["http_500"])
    ] = None
    failing_since: UtcDatetime | None = None
    disabled_at: UtcDatetime


_EXAMPLE: dict[str, Any] = {
    "subscription_id": "01KASM9C5B2H6K3T8Y4R1WQ7ZE",
    "project_id": 7,
    "reason": "endpoint_failing",
    "failures": 50,
    "last_error": "http_500",
    "failing_since": "2026-01-01T00:00:00Z",
    "disabled_at": "2026-01-05T09:30:00.218000Z",
}

EVENTS = (EventType(WebhookSubscriptionDisabled, _EXAMPLE),)
