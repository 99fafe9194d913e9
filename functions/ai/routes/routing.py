"""The calls about routing policies."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from contracts.ai import routing as contract
from contracts.base import MAX_ID
from functions.ai.domain.routing import Policy, StoredPolicy
from functions.ai.routes.parameters import ApiDep, signed
from servicekit.errors import InvalidRequestError
from servicekit.problems import read_json
from servicekit.responses import WireResponse

_DEPLOYMENT = "default"

routes = APIRouter(dependencies=[Depends(signed)])


def _project(scope: str) -> int:
    """The project of the scope. Raises `InvalidRequestError`."""
    if re.fullmatch(contract.PROJECT_SCOPE_PATTERN, scope, re.ASCII):
        number = int(scope.rpartition("-")[2])
        if number <= MAX_ID:
            return number
    message = "It is project-<id>; default, the deployment's, can only be read."
    raise InvalidRequestError(errors=[{"field": "scope", "message": message}])


def _readable(scope: str) -> int | None:
    return None if scope == _DEPLOYMENT else _project(scope)


ProjectDep = Annotated[int, Depends(_project)]
ScopeDep = Annotated[int | None, Depends(_readable)]


@routes.get("/api/v1/routing/{scope}")
async def get_routing(api: ApiDep, scope: ScopeDep) -> WireResponse:
    """A project's policy, or the deployment's."""
    if scope is None:
        return WireResponse(_wire(_DEPLOYMENT, await api.routing.of_deployment()))
    return WireResponse(_stored(await api.routing.get(scope)))


@routes.put("/api/v1/routing/{scope}")
async def set_routing(request: Request, api: ApiDep, scope: ProjectDep) -> WireResponse:
    """Sets a project's policy."""
    body = await read_json(request, contract.RoutingSet)
    policy = Policy.from_data(body.model_dump())
    return WireResponse(_stored(await api.routing.put(scope, policy)))


@routes.delete("/api/v1/routing/{scope}")
async def delete_routing(api: ApiDep, scope: ProjectDep) -> WireResponse:
    """Removes a project's policy."""
    await api.routing.remove(scope)
    return WireResponse(contract.RoutingDeleted(message="Routing policy deleted"))


def _stored(stored: StoredPolicy) -> contract.Routing:
    scope = f"project-{stored.project_id}"
    return _wire(scope, stored.policy, stored.created_at, stored.updated_at)


def _wire(
    scope: str,
    policy: Policy,
    created_at: datetime | None = None,
    updated_at: datetime | None = None,
) -> contract.Routing:
    return contract.Routing.model_validate(
        {"scope": scope, **policy.data(), "created_at": created_at, "updated_at": updated_at}
    )
