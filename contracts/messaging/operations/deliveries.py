"""Reporting attempts."""

from __future__ import annotations

from contracts.messaging import deliveries as wire
from contracts.messaging import examples_consuming as examples
from contracts.messaging.operations.common import ANY_CALL, WITH_BODY, errors
from contracts.operation import Answer, Operation

OPERATIONS = (
    Operation(
        operation_id="report_deliveries",
        method="post",
        path="/api/v1/deliveries",
        summary="Report up to 100 attempts of the caller's own consumers",
        tag="publish",
        description=(
            "What consumers of other services did with events: part of each event's life from then "
            "on. The same event, consumer and attempt is the same report, however often it comes. "
            "A report of another service's consumer is refused by itself, with 403 in its result."
        ),
        body=wire.DeliveryBatch,
        body_example=examples.DELIVERIES,
        answer=Answer(
            model=wire.DeliveryBatchResult,
            description="What became of each report.",
            example=examples.DELIVERIES_RESULT,
        ),
        errors=errors(ANY_CALL, WITH_BODY),
    ),
)
