"""The one shape of every error answer: RFC 9457 `application/problem+json`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.base import WireModel, is_none

PROBLEM_MEDIA_TYPE = "application/problem+json"


class FieldError(WireModel):
    """One field of a request that was refused."""

    field: Annotated[str, Field(description="Dotted path of the field, e.g. `tool_calls.0.name`.")]
    message: str


class Problem(WireModel):
    """An error answer. Programs branch on `code`; people read `title` and `detail`."""

    type: Annotated[str, Field(description="URI reference of the kind of problem.")] = "about:blank"
    title: Annotated[str, Field(description="The kind of problem, the same for each occurrence.")]
    status: Annotated[int, Field(description="The HTTP status, repeated.")]
    detail: Annotated[
        str | None, Field(description="What was wrong this time.", exclude_if=is_none)
    ] = None
    code: Annotated[str, Field(description="Stable snake_case name of the kind of problem.")]
    request_id: Annotated[
        str | None,
        Field(description="The `X-Request-Id` under which it was logged.", exclude_if=is_none),
    ] = None
    errors: Annotated[
        list[FieldError] | None,
        Field(description="Each refused field, on a 422.", exclude_if=is_none),
    ] = None
