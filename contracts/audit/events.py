"""Events that are audit records: the audit sink takes them from the bus."""

from __future__ import annotations

from typing import ClassVar

from contracts.audit import examples, v1
from contracts.event import EventPayload, EventType


class AuditEventReported(v1.AuditEventCreate, EventPayload):
    """Something happened that must be kept on record: what `POST /events` of the audit sink takes,
    for whoever has the bus and not that API.
    """

    EVENT_TYPE: ClassVar[str] = "audit.event"


_EXAMPLE = AuditEventReported.model_validate(examples.EVENT_CREATE).model_dump(mode="json")

EVENTS = (EventType(AuditEventReported, _EXAMPLE),)
