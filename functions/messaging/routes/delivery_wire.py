"""Reports of attempts: the contract's models to and from the domain's."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.messaging import deliveries as contract
from contracts.problem import Problem
from functions.messaging.domain.deliveries import Delivery
from servicekit.errors import AppError

_RECORDED = 200


def delivery(report: contract.DeliveryReport) -> Delivery:
    """A report, as the service keeps it."""
    return Delivery(**{name: getattr(report, name) for name in type(report).model_fields})


def result(
    reports: Sequence[contract.DeliveryReport], refusals: Sequence[AppError | None]
) -> contract.DeliveryBatchResult:
    """What became of each report."""
    results = [
        contract.DeliveryResult(
            index=index,
            event_id=report.event_id,
            status=refusal.status if refusal else _RECORDED,
            error=Problem.model_validate(refusal.to_problem(None)) if refusal else None,
        )
        for index, (report, refusal) in enumerate(zip(reports, refusals, strict=True))
    ]
    recorded = sum(one.status == _RECORDED for one in results)
    return contract.DeliveryBatchResult(recorded=recorded, results=results)
