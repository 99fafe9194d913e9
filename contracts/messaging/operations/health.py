"""Whether the service runs."""

from __future__ import annotations

from contracts.health import Health, Readiness
from contracts.operation import Answer, Operation

_SERVICE = "message-queue-service"
_OK = {"status": "ready", "service": _SERVICE, "checks": {"dynamodb": "ok"}}
_NOT_OK = {"status": "not ready", "service": _SERVICE, "checks": {"dynamodb": "failed"}}

OPERATIONS = (
    Operation(
        operation_id="get_health",
        method="get",
        path="/health",
        summary="Whether the process answers; touches no dependency",
        tag="control",
        answer=Answer(
            model=Health,
            description="It does.",
            example={"status": "healthy", "service": _SERVICE},
        ),
        errors=(400, 429, 500),
        signed=False,
    ),
    Operation(
        operation_id="get_readiness",
        method="get",
        path="/ready",
        summary="Whether each dependency answers",
        tag="control",
        answer=Answer(model=Readiness, description="Ready.", example=_OK),
        also=(
            Answer(
                model=Readiness,
                status=503,
                description="A dependency does not answer.",
                example=_NOT_OK,
            ),
        ),
        errors=(400, 401, 403, 429, 500, 504),
    ),
)
