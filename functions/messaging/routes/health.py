"""Whether the service runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from contracts.health import Health, Readiness
from functions.messaging.domain.dependencies import Control
from servicekit.fastapi_app import readiness, signed_router
from servicekit.responses import WireResponse

open_routes = APIRouter()
signed_routes = signed_router()


async def _control(request: Request) -> Control:
    dependencies: Control = request.app.state.dependencies
    return dependencies


ControlDep = Annotated[Control, Depends(_control)]


@open_routes.get("/health")
async def get_health(control: ControlDep) -> WireResponse:
    """Whether the process answers."""
    return WireResponse(Health(service=control.service_name))


@signed_routes.get("/ready")
async def get_readiness(control: ControlDep) -> WireResponse:
    """Whether each dependency answers in time."""
    answers = await readiness(control.checks)
    ready = Readiness.told(control.service_name, answers)
    return WireResponse(ready, 200 if all(answers.values()) else 503)
