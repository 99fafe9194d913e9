"""The call by which consumers of other services report."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from contracts.messaging.deliveries import DeliveryBatch
from contracts.messaging.envelope import SOURCE_PREFIX
from functions.messaging.domain.deliveries import DeliveryService
from functions.messaging.domain.dependencies import Publish
from functions.messaging.domain.publishing import source_of
from functions.messaging.routes import delivery_wire
from servicekit.fastapi_app import signed_router
from servicekit.identity import require_caller
from servicekit.problems import read_json
from servicekit.responses import WireResponse

routes = signed_router()


async def _service(request: Request) -> DeliveryService:
    dependencies: Publish = request.app.state.dependencies
    return dependencies.deliveries


ServiceDep = Annotated[DeliveryService, Depends(_service)]


@routes.post("/api/v1/deliveries")
async def report_deliveries(request: Request, service: ServiceDep) -> WireResponse:
    """Takes reports of the caller's own consumers."""
    batch = await read_json(request, DeliveryBatch)
    caller = source_of(require_caller(request.scope).principal).removeprefix(SOURCE_PREFIX)
    told = [delivery_wire.delivery(report) for report in batch.deliveries]
    refusals = await service.record_for(caller, told)
    return WireResponse(delivery_wire.result(batch.deliveries, refusals))
