"""Bodies of the contract as domain models, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contracts.audit import v1
from contracts.problem import Problem
from functions.audit.domain.ingest import Outcome
from functions.audit.domain.models import NewEvent
from servicekit.errors import AppError


def new_event(
    report: v1.EventReport, event_type: str, event_id: str, *, also_in_metadata: str | None = None
) -> NewEvent:
    """A report as the domain takes it; one of its fields may be in the metadata as well."""
    metadata = report.metadata
    if also_in_metadata is not None:
        metadata = {**metadata, also_in_metadata: getattr(report, also_in_metadata)}
    return NewEvent(
        event_id=event_id,
        event_type=event_type,
        resource=report.resource,
        action=report.action,
        metadata=metadata,
        user_id=report.user_id,
        request_id=report.request_id,
        session_id=report.session_id,
        producer=report.producer,
        sequence=report.sequence,
        occurred_at=report.occurred_at,
        severity=report.severity,
        data_classification=report.data_classification,
    )


def event(content: Mapping[str, Any]) -> v1.AuditEvent:
    """A stored event; `content` is what `personal.unseal` shows of a record."""
    return v1.AuditEvent.model_validate(content)


def batch_result(outcomes: Sequence[Outcome]) -> v1.BatchResult:
    """What came of each event of a batch."""
    results = [_item(index, outcome) for index, outcome in enumerate(outcomes)]
    stored = sum(not isinstance(outcome, AppError) for outcome in outcomes)
    return v1.BatchResult(
        message=f"{stored} of {len(outcomes)} events stored", event_count=stored, results=results
    )


def flush_result(answer: Mapping[str, object]) -> v1.FlushResult:
    """What the sealer says that it did."""
    checkpoint = answer.get("checkpoint")
    sealed = answer["sealed"]
    return v1.FlushResult.model_validate(
        {"message": f"Sealed {sealed} events", "sealed": sealed, "checkpoint": checkpoint}
    )


def _item(index: int, outcome: Outcome) -> v1.BatchItem:
    if isinstance(outcome, AppError):
        problem = Problem.model_validate(outcome.to_problem(None))
        return v1.BatchItem(index=index, status=outcome.status, error=problem)
    status = 201 if outcome.created else 200
    return v1.BatchItem(index=index, status=status, event_id=outcome.event_id)
