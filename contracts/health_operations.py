"""The operations /health and /ready, the same for every service."""

from __future__ import annotations

from contracts.health import Health, Readiness
from contracts.operation import Answer, Operation


def health_operations(
    service: str, *, tag: str = "health", check: str = "dynamodb"
) -> tuple[Operation, Operation]:
    """Of the service; `check` is the dependency that the examples name."""

    def readiness(answers: bool) -> dict[str, object]:
        return Readiness.told(service, {check: answers}).model_dump(mode="json")

    return (
        Operation(
            operation_id="get_health",
            method="get",
            path="/health",
            summary="Whether the process answers; touches no dependency",
            tag=tag,
            answer=Answer(
                model=Health,
                description="It does.",
                example=Health(service=service).model_dump(mode="json"),
            ),
            errors=(400, 429, 500),
            signed=False,
        ),
        Operation(
            operation_id="get_readiness",
            method="get",
            path="/ready",
            summary="Whether each dependency answers",
            tag=tag,
            answer=Answer(model=Readiness, description="Ready.", example=readiness(True)),
            also=(
                Answer(
                    model=Readiness,
                    status=503,
                    description="A dependency does not answer.",
                    example=readiness(False),
                ),
            ),
            errors=(400, 401, 403, 429, 500, 504),
        ),
    )
