"""Whether the service runs."""

from __future__ import annotations

from fastapi import APIRouter

from contracts.health import Health, Readiness
from functions.browser.routes.sessions import ApiDep
from servicekit.fastapi_app import readiness, signed_router
from servicekit.responses import WireResponse

open_routes = APIRouter()
signed_routes = signed_router()


@open_routes.get("/health")
async def get_health(api: ApiDep) -> WireResponse:
    """Whether the process answers."""
    return WireResponse(Health(service=api.service_name))


@signed_routes.get("/ready")
async def get_readiness(api: ApiDep) -> WireResponse:
    """Whether each dependency answers in time."""
    answers = await readiness(api.checks)
    ready = Readiness.told(api.service_name, answers)
    return WireResponse(ready, 200 if all(answers.values()) else 503)
