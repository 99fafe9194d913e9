"""The calls that change something beside adding: seal now, erase."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Path, Request

from contracts.audit import v1
from contracts.base import MAX_ID
from functions.audit.domain.dependencies import Control
from functions.audit.domain.erasure import ControlService, Operation
from functions.audit.routes import wire
from servicekit.context import current_context
from servicekit.fastapi_app import new_app, signed_router
from servicekit.identity import require_caller
from servicekit.responses import WireResponse

routes = signed_router()


async def _service(request: Request) -> ControlService:
    dependencies: Control = request.app.state.dependencies
    return dependencies.service


async def _operation(request: Request) -> Operation:
    context = current_context()
    return Operation(
        require_caller(request.scope).principal, context.request_id if context else None
    )


ServiceDep = Annotated[ControlService, Depends(_service)]
OperationDep = Annotated[Operation, Depends(_operation)]
UserId = Annotated[int, Path(ge=1, le=MAX_ID)]


def create_app(dependencies: Control) -> FastAPI:
    """The control function's app."""
    return new_app(dependencies, routes, max_body_bytes=v1.MAX_BODY_BYTES)


@routes.post("/api/v1/flush")
async def flush(service: ServiceDep, operation: OperationDep) -> WireResponse:
    """Seals now what was accepted before."""
    return WireResponse(wire.flush_result(await service.flush(operation)))


@routes.delete("/api/v1/subjects/{user_id}")
async def erase_subject(
    service: ServiceDep, operation: OperationDep, user_id: UserId
) -> WireResponse:
    """Makes a person's personal fields unreadable for good."""
    event_id = await service.erase(user_id, operation)
    return WireResponse(
        v1.SubjectErased(
            message="The personal fields of this person are erased",
            user_id=user_id,
            event_id=event_id,
        )
    )
