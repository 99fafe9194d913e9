"""The answers of /health and /ready, the same for every service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field

from contracts.base import WireModel


class Health(WireModel):
    """The process answers. No dependency is touched."""

    status: Literal["healthy"] = "healthy"
    service: Annotated[str, Field(examples=["ai-service"])]


class Readiness(WireModel):
    """Whether the service's dependencies answer; 503 goes with `not ready`."""

    status: Literal["ready", "not ready"]
    service: Annotated[str, Field(examples=["ai-service"])]
    checks: Annotated[
        dict[str, str],
        Field(
            default_factory=dict,
            description="`ok` or `failed` by dependency.",
            examples=[{"dynamodb": "ok"}],
        ),
    ]

    @classmethod
    def told(cls, service: str, answers: Mapping[str, bool]) -> Self:
        """From whether each dependency answered."""
        return cls(
            status="ready" if all(answers.values()) else "not ready",
            service=service,
            checks={name: "ok" if fine else "failed" for name, fine in answers.items()},
        )
