"""Messages of the intake queue: events of the bus, and reports that came without a call."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from contracts.audit import v1
from contracts.base import UtcDatetime, WireModel
from functions.audit.domain.dependencies import Intake
from functions.audit.domain.ingest import choose_event_id
from functions.audit.domain.models import NewEvent
from functions.audit.routes import wire
from servicekit import strict_json
from servicekit.errors import AppError

AUDIT_DETAIL_TYPE = "audit.event"
"""The detail-type of events whose detail is an `AuditEventCreate`."""

_DEPTH = v1.MAX_METADATA_DEPTH + 2
_BUS_ID_PREFIX = "eb-"
_logger = logging.getLogger(__name__)


class _Report(WireModel):
    """A report, and who made it."""

    event: v1.AuditEventCreate
    reported_by: str


class _BusEvent(WireModel):
    """What EventBridge wraps around a detail."""

    id: str
    source: str
    time: UtcDatetime
    detail: dict[str, Any]

    @property
    def reported_by(self) -> str:
        """The source stands for the role: who may send as it is the bus's policy."""
        return f"events:{self.source}"


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
    event, reported_by = _event(content)
    [outcome] = await intake.service.record([event], reported_by)
    if isinstance(outcome, AppError):
        raise outcome


def _event(content: Any) -> tuple[NewEvent, str]:
    if not isinstance(content, Mapping) or "detail-type" not in content:
        report = _Report.model_validate(content)
        return _new_event(report.event, report.reported_by, None), report.reported_by
    sent = _BusEvent.model_validate(content)
    detail_type = str(content["detail-type"])
    told = (
        v1.AuditEventCreate.model_validate(sent.detail)
        if detail_type == AUDIT_DETAIL_TYPE
        else _described(detail_type, sent)
    )
    # EventBridge delivers at least once, and repeats its id when it does.
    return _new_event(told, sent.reported_by, f"{_BUS_ID_PREFIX}{sent.id}"), sent.reported_by


def _new_event(report: v1.AuditEventCreate, reported_by: str, fallback: str | None) -> NewEvent:
    event_id = choose_event_id(report.event_id or fallback, None, reported_by, 0)
    return wire.new_event(report, report.event_type, event_id)


def _described(detail_type: str, sent: _BusEvent) -> v1.AuditEventCreate:
    """An event of another service that bears on security: its detail is the metadata.

    What the detail has as its own metadata stands beside it, where personal fields are known.
    """
    own = sent.detail.get("metadata")
    metadata = {name: value for name, value in sent.detail.items() if name != "metadata"}
    metadata |= own if isinstance(own, dict) else {}
    fields: dict[str, Any] = {
        "event_type": detail_type,
        "resource": sent.source,
        "action": detail_type.rpartition(".")[2],
        "metadata": metadata,
        "occurred_at": sent.time,
    }
    correlation = {
        name: sent.detail[name]
        for name in ("user_id", "request_id", "session_id")
        if sent.detail.get(name) is not None
    }
    try:
        return v1.AuditEventCreate.model_validate({**fields, **correlation})
    except ValidationError:
        # Another service's ids are of its own making; what happened is recorded without them.
        return v1.AuditEventCreate.model_validate(fields)
