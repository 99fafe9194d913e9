"""What the buffered routes read of a request alike."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from contracts.base import MAX_ID
from functions.ai.domain.dependencies import Api
from servicekit.errors import InvalidRequestError
from servicekit.identity import require_caller
from servicekit.paging import MAX_LIMIT

Id = Annotated[int, Query(ge=1, le=MAX_ID)]
OptionalId = Annotated[int | None, Query(ge=1, le=MAX_ID)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[str | None, Query(min_length=1, max_length=512)]


def _api(request: Request) -> Api:
    api: Api = request.app.state.api
    return api


async def signed(request: Request) -> None:
    """Raises `UnauthenticatedError` where the gateway named no caller."""
    require_caller(request.scope)


def require_whose(project_id: int | None, user_id: int | None) -> None:
    """Raises `InvalidRequestError` where neither a project nor a user is named."""
    if project_id is None and user_id is None:
        message = "One of project_id and user_id is required."
        raise InvalidRequestError(
            errors=[{"field": name, "message": message} for name in ("project_id", "user_id")]
        )


ApiDep = Annotated[Api, Depends(_api)]
