"""The calls that record events."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from pydantic import Field

from contracts.audit import v1
from contracts.base import WireModel
from functions.audit.domain.dependencies import Ingest
from functions.audit.domain.ingest import IngestService, choose_event_id
from functions.audit.domain.models import NewEvent
from functions.audit.routes import wire
from servicekit import strict_json
from servicekit.event_batches import read_batch
from servicekit.fastapi_app import idempotency_key, new_app, signed_router
from servicekit.identity import require_caller
from servicekit.responses import WireResponse

_EVENT_DEPTH = v1.MAX_METADATA_DEPTH + 1

routes = signed_router()


class _AnyBatch(WireModel):
    """A batch whose events are not looked at yet."""

    events: Annotated[list[Any], Field(min_length=1, max_length=v1.MAX_BATCH_EVENTS)]


class Reporter:
    """Who reports, and under which Idempotency-Key."""

    def __init__(self, principal: str, key: str | None) -> None:
        self.principal = principal
        self._key = key

    def event_id(self, given: str | None, index: int = 0) -> str:
        """The id of one of the request's events."""
        return choose_event_id(given, self._key, self.principal, index)

    def event(self, body: Any, index: int) -> NewEvent:
        """The event of an item of a batch. Raises `ValidationError`."""
        report = v1.AuditEventCreate.model_validate(body)
        return wire.new_event(report, report.event_type, self.event_id(report.event_id, index))


# Asynchronous: FastAPI sends what is not to a thread.
async def _service(request: Request) -> IngestService:
    dependencies: Ingest = request.app.state.dependencies
    return dependencies.service


async def _reporter(request: Request) -> Reporter:
    return Reporter(require_caller(request.scope).principal, idempotency_key(request))


ServiceDep = Annotated[IngestService, Depends(_service)]
ReporterDep = Annotated[Reporter, Depends(_reporter)]


def create_app(dependencies: Ingest) -> FastAPI:
    """The ingest function's app."""
    return new_app(dependencies, routes, max_body_bytes=v1.MAX_BODY_BYTES)


@routes.post("/api/v1/events")
async def record_event(
    request: Request, service: ServiceDep, reporter: ReporterDep
) -> WireResponse:
    """Records an event of any type."""
    report = v1.AuditEventCreate.model_validate(await _content(request))
    event = wire.new_event(report, report.event_type, reporter.event_id(report.event_id))
    return await _record(service, reporter, event)


@routes.post("/api/v1/events/batch")
async def record_batch(
    request: Request, service: ServiceDep, reporter: ReporterDep
) -> WireResponse:
    """Records up to 100 events, each by itself."""
    batch = read_batch(await request.body(), _EVENT_DEPTH, _AnyBatch.model_validate, reporter.event)
    recorded = await service.record(list(batch.events.values()), reporter.principal)
    return WireResponse(wire.batch_result(batch.outcomes(recorded)))


@routes.post("/api/v1/events/user")
async def record_user_event(
    request: Request, service: ServiceDep, reporter: ReporterDep
) -> WireResponse:
    """Records what a person did."""
    report = v1.UserEventCreate.model_validate(await _content(request))
    event = wire.new_event(report, v1.USER_EVENT_TYPE, reporter.event_id(report.event_id))
    return await _record(service, reporter, event)


@routes.post("/api/v1/events/system")
async def record_system_event(
    request: Request, service: ServiceDep, reporter: ReporterDep
) -> WireResponse:
    """Records what the system did."""
    report = v1.SystemEventCreate.model_validate(await _content(request))
    event = wire.new_event(report, v1.SYSTEM_EVENT_TYPE, reporter.event_id(report.event_id))
    return await _record(service, reporter, event)


@routes.post("/api/v1/events/security")
async def record_security_event(
    request: Request, service: ServiceDep, reporter: ReporterDep
) -> WireResponse:
    """Records what bears on security."""
    report = v1.SecurityEventCreate.model_validate(await _content(request))
    event_id = reporter.event_id(report.event_id)
    event = wire.new_event(report, v1.SECURITY_EVENT_TYPE, event_id, also_in_metadata="severity")
    return await _record(service, reporter, event)


@routes.post("/api/v1/events/data")
async def record_data_event(
    request: Request, service: ServiceDep, reporter: ReporterDep
) -> WireResponse:
    """Records an access to data."""
    report = v1.DataEventCreate.model_validate(await _content(request))
    event_id = reporter.event_id(report.event_id)
    event = wire.new_event(
        report, v1.DATA_EVENT_TYPE, event_id, also_in_metadata="data_classification"
    )
    return await _record(service, reporter, event)


async def _record(service: IngestService, reporter: Reporter, event: NewEvent) -> WireResponse:
    content, created = await service.record_one(event, reporter.principal)
    return WireResponse(wire.event(content), 201 if created else 200)


async def _content(request: Request) -> Any:
    return strict_json.require_sound(strict_json.parse(await request.body(), _EVENT_DEPTH))
