"""Messages of the intake queue: events of the bus, and reports that came without a call."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from contracts.audit import v1
from contracts.base import WireModel
from contracts.messaging.envelope import TARGET, Envelope
from functions.audit.domain.dependencies import Intake
from functions.audit.domain.ingest import choose_event_id
from functions.audit.domain.models import NewEvent
from functions.audit.routes import wire
from servicekit import strict_json
from servicekit.errors import AppError

AUDIT_DETAIL_TYPE = "audit.event"
"""The type of events whose data are an `AuditEventCreate`."""

# Of the message: the event of the bus, its detail, the report in it.
_DEPTH = v1.MAX_METADATA_DEPTH + 3
_REPLAYED = "replay-name"
_logger = logging.getLogger(__name__)


class _Report(WireModel):
    """A report, and who made it."""

    event: v1.AuditEventCreate
    reported_by: str


class _BusEvent(WireModel):
    """What EventBridge wraps around an event."""

    detail: Envelope

    @property
    def reported_by(self) -> str:
        """The source stands for the role: the message service wrote it down when it published."""
        return f"events:{self.detail.source}"


async def take(intake: Intake, message_id: str, body: str) -> None:
    """Records what a message holds. Raises an `AppError` or pydantic's `ValidationError`.

    Either is logged by its code alone: what pydantic says quotes the message.
    """
    try:
        await _record(intake, body)
    except Exception as error:
        code = error.code if isinstance(error, AppError) else type(error).__name__
        _logger.error(  # noqa: TRY400 - a traceback ends with what the error says
            "an intake message was not recorded", extra={"message_id": message_id, "error": code}
        )
        raise


async def _record(intake: Intake, body: str) -> None:
    content = strict_json.require_sound(strict_json.parse(body.encode(errors="replace"), _DEPTH))
    if _is_for_others(content):
        return
    event, reported_by = _event(content)
    [outcome] = await intake.service.record([event], reported_by)
    if isinstance(outcome, AppError):
        raise outcome


def _is_for_others(content: Any) -> bool:
    """Events that were sent again to one consumer, or came out of an archive: they are on record.

    The rule lets none of them pass; where it cannot be trusted to, they are dropped here.
    """
    if not _is_of_bus(content):
        return False
    detail = content.get("detail")
    return _REPLAYED in content or (isinstance(detail, Mapping) and TARGET in detail)


def _is_of_bus(content: Any) -> bool:
    return isinstance(content, Mapping) and "detail-type" in content


def _event(content: Any) -> tuple[NewEvent, str]:
    if not _is_of_bus(content):
        report = _Report.model_validate(content)
        return _new_event(report.event, report.reported_by, None), report.reported_by
    sent = _BusEvent.model_validate(content)
    event = sent.detail
    told = (
        v1.AuditEventCreate.model_validate(_completed(event))
        if event.type == AUDIT_DETAIL_TYPE
        else _described(event)
    )
    # The bus delivers at least once, and the event's id is the same when it does.
    return _new_event(told, sent.reported_by, event.id), sent.reported_by


def _completed(event: Envelope) -> dict[str, Any]:
    """A report with what its envelope says and it does not."""
    known = {
        "user_id": event.userid,
        "request_id": event.requestid,
        "occurred_at": _occurred_at(event),
    }
    said = {name: value for name, value in event.data.items() if value is not None}
    return {**{name: value for name, value in known.items() if value is not None}, **said}


def _new_event(report: v1.AuditEventCreate, reported_by: str, fallback: str | None) -> NewEvent:
    event_id = choose_event_id(report.event_id or fallback, None, reported_by, 0)
    return wire.new_event(report, report.event_type, event_id)


def _occurred_at(event: Envelope) -> datetime:
    """When it happened: not after it was accepted, whatever its publisher's clock said."""
    return min(event.time, event.acceptedat)


def _described(event: Envelope) -> v1.AuditEventCreate:
    """An event of another service that bears on security: its data are the metadata.

    What the data have as their own metadata stands beside them, where personal fields are known.
    """
    own = event.data.get("metadata")
    metadata = {name: value for name, value in event.data.items() if name != "metadata"}
    metadata |= own if isinstance(own, dict) else {}
    fields: dict[str, Any] = {
        "event_type": event.type,
        "resource": event.source,
        "action": event.type.rpartition(".")[2],
        "metadata": metadata,
        "occurred_at": _occurred_at(event),
    }
    told = {"user_id": event.userid, "request_id": event.requestid}
    correlation = {
        name: value
        for name in ("user_id", "request_id", "session_id")
        if (value := event.data.get(name) if told.get(name) is None else told[name]) is not None
    }
    try:
        return v1.AuditEventCreate.model_validate({**fields, **correlation})
    except ValidationError:
        # Another service's ids are of its own making; what happened is recorded without them.
        return v1.AuditEventCreate.model_validate(fields)
