"""AI v1: which models answer where none is named, and which stand in for one that fails."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.ai.v1 import Name
from contracts.base import UtcDatetime, WireInt, WireModel

PROJECT_SCOPE_PATTERN = "^project-[1-9][0-9]{0,9}$"
"""Whose a policy is."""

ROUTING_SCOPE_PATTERN = "^(default|project-[1-9][0-9]{0,9})$"
"""Whose a policy is, or `default`: the deployment's, which binds projects that have none."""

MAX_TARGETS = 10
"""Of a list of targets."""

MAX_WEIGHT = 1000
"""Of a target."""

Weight = Annotated[WireInt, Field(ge=1, le=MAX_WEIGHT)]


class RoutingFallback(WireModel):
    """A model that stands in for another."""

    provider: Name
    model: Name


class RoutingTarget(WireModel):
    """A model that a new session may get."""

    provider: Name
    model: Name
    weight: Annotated[Weight, Field(description="Its share among the others of the list.")] = 1


class RoutingSummaries(WireModel):
    """That models are told a summary of a session's oldest messages when they have no room for
    these. A worker makes it, and its calls are charged to the session's project and user.
    """

    model: Annotated[
        RoutingFallback | None,
        Field(description="Which model makes them. If null, the session's own."),
    ] = None


Summaries = Annotated[
    RoutingSummaries | None,
    Field(description="If null, no summaries are made, and none are used."),
]


class RoutingSet(WireModel):
    """A routing policy; it replaces the deployment's whole."""

    default: Annotated[
        list[RoutingTarget],
        Field(
            max_length=MAX_TARGETS,
            description=(
                "A new session for which neither provider nor model was named gets one of them, by "
                "weight, and the others come first when it fails. If empty, it gets the "
                "deployment's default model."
            ),
        ),
    ]
    fallbacks: Annotated[
        list[RoutingFallback],
        Field(
            max_length=MAX_TARGETS,
            description="What is asked, in this order, when the model of a message fails.",
        ),
    ]
    summaries: Summaries = None


class Routing(WireModel):
    """The routing policy of a project, or of the deployment (`default`)."""

    scope: Annotated[str, Field(examples=["project-7"])]
    default: list[RoutingTarget]
    fallbacks: list[RoutingFallback]
    summaries: Summaries = None
    created_at: Annotated[UtcDatetime | None, Field(description="Null of the deployment's.")] = None
    updated_at: Annotated[UtcDatetime | None, Field(description="Null of the deployment's.")] = None


class RoutingDeleted(WireModel):
    """The project has no policy of its own any more."""

    message: str
