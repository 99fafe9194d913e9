"""The calls that read, and those that ask for exports."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Query, Request

from contracts.audit import v1
from contracts.health import Health, Readiness
from functions.audit.domain import dependencies
from functions.audit.domain.errors import (
    EventNotFoundError,
    ExportNotFoundError,
    InvalidRangeError,
)
from functions.audit.domain.exports import ExportRequest, ExportView
from functions.audit.domain.models import Export, Span
from functions.audit.domain.query import Query as EventQuery
from functions.audit.domain.spans import EARLIEST, LATEST, Range
from functions.audit.routes import query_wire as wire
from functions.audit.routes.query_wire import FindQuery, Moment
from functions.audit.routes.wire import event
from servicekit.fastapi_app import idempotency_key, new_app, readiness, signed_router
from servicekit.identity import require_caller
from servicekit.problems import read_json
from servicekit.responses import WireResponse

_logger = logging.getLogger(__name__)

Limit = Annotated[int, Query(ge=1, le=v1.MAX_PAGE_LIMIT)]
Cursor = Annotated[str | None, Query(min_length=1, max_length=v1.MAX_CURSOR_LENGTH)]
Size = Annotated[int, Query(ge=1, le=v1.MAX_SEQUENCE)]


def _api(request: Request) -> dependencies.Query:
    api: dependencies.Query = request.app.state.dependencies
    return api


async def _principal(request: Request) -> str:
    return require_caller(request.scope).principal


def _event_id(event_id: str) -> str:
    # No event has a longer one, and a longer key is an error to DynamoDB.
    if len(event_id) > v1.MAX_EVENT_ID_LENGTH:
        raise EventNotFoundError
    return event_id


def _export_id(export_id: str) -> str:
    if len(export_id) > v1.MAX_EVENT_ID_LENGTH:
        raise ExportNotFoundError
    return export_id


ApiDep = Annotated[dependencies.Query, Depends(_api)]
Principal = Annotated[str, Depends(_principal)]
EventId = Annotated[str, Depends(_event_id)]
ExportId = Annotated[str, Depends(_export_id)]

open_routes = APIRouter()
signed_routes = signed_router()


def create_app(api: dependencies.Query) -> FastAPI:
    """The query function's app."""
    return new_app(api, open_routes, signed_routes, max_body_bytes=v1.MAX_BODY_BYTES)


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


@signed_routes.get("/api/v1/events")
async def find_events(
    api: ApiDep, principal: Principal, asked: Annotated[FindQuery, Query()]
) -> WireResponse:
    """A page of events, or the export of what is too much for a page."""
    query = EventQuery(wire.filter_of(asked), Range(asked.start_time, asked.end_time))
    found = await api.queries.find(query, asked.limit, asked.cursor, principal)
    if isinstance(found, Export):
        return WireResponse(wire.export(ExportView(found, None)), 202)
    return WireResponse(wire.event_page(found))


@signed_routes.get("/api/v1/events/recent")
async def recent_events(api: ApiDep, limit: Limit = v1.DEFAULT_RECENT_LIMIT) -> WireResponse:
    """The newest events."""
    return WireResponse(wire.recent_events(await api.queries.recent(limit)))


@signed_routes.get("/api/v1/events/{event_id}")
async def get_event(api: ApiDep, event_id: EventId) -> WireResponse:
    """An event."""
    return WireResponse(event(await api.queries.get(event_id)))


@signed_routes.get("/api/v1/events/{event_id}/proof")
async def get_proof(api: ApiDep, event_id: EventId) -> WireResponse:
    """That an event is in the log."""
    return WireResponse(wire.proof(await api.proofs.inclusion(event_id)))


@signed_routes.get("/api/v1/stats")
async def get_stats(api: ApiDep) -> WireResponse:
    """How the service stands."""
    return WireResponse(wire.stats(await api.stats.current()))


@signed_routes.get("/api/v1/reconciliation")
async def reconcile(
    api: ApiDep,
    start: Annotated[Moment | None, Query(alias="from")] = None,
    end: Annotated[Moment | None, Query(alias="to")] = None,
) -> WireResponse:
    """Which reports never arrived."""
    span = Span(start or EARLIEST, end or LATEST)
    if span.start >= span.end:
        raise InvalidRangeError("from must be before to.")
    return WireResponse(wire.reconciliation(await api.reconciliation.report(span)))


@signed_routes.get("/api/v1/checkpoints/latest")
async def get_latest_checkpoint(api: ApiDep) -> WireResponse:
    """The newest state of the log."""
    newest = await api.proofs.latest()
    return WireResponse(wire.checkpoint(newest, await api.proofs.key()))


@signed_routes.get("/api/v1/checkpoints/consistency")
async def get_consistency(
    api: ApiDep,
    first: Annotated[Size, Query(alias="from")],
    second: Annotated[Size, Query(alias="to")],
) -> WireResponse:
    """That the log only grew."""
    return WireResponse(wire.consistency(await api.proofs.consistency(first, second)))


@signed_routes.post("/api/v1/exports")
async def create_export(request: Request, api: ApiDep, principal: Principal) -> WireResponse:
    """Has a bundle made."""
    key = idempotency_key(request)
    body = await read_json(request, v1.ExportCreate)
    asked = ExportRequest(
        wire.filter_of(body.filter), Range(body.start_time, body.end_time), principal
    )
    export = await api.exports.create(asked, key)
    return WireResponse(wire.export(ExportView(export, None)), 202)


@signed_routes.get("/api/v1/exports")
async def list_exports(
    api: ApiDep, limit: Limit = v1.DEFAULT_PAGE_LIMIT, cursor: Cursor = None
) -> WireResponse:
    """Exports, newest first."""
    return WireResponse(wire.export_page(await api.exports.list_exports(limit, cursor)))


@signed_routes.get("/api/v1/exports/{export_id}")
async def get_export(api: ApiDep, export_id: ExportId) -> WireResponse:
    """How far an export is, and where its bundle is."""
    return WireResponse(wire.export(await api.exports.get(export_id)))
