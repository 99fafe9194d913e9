"""The calls that record events."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from pydantic import Field, ValidationError

from contracts.audit import v1
from contracts.base import WireModel
from functions.audit.domain.dependencies import Ingest
from functions.audit.domain.ingest import IngestService, Outcome, choose_event_id
from functions.audit.domain.models import NewEvent
from functions.audit.routes import wire
from servicekit import strict_json
from servicekit.errors import AppError, InvalidRequestError
from servicekit.fastapi_app import idempotency_key, new_app, signed_router
from servicekit.identity import require_caller
from servicekit.problems import to_app_error
from servicekit.responses import WireResponse
from servicekit.strict_json import Document

_EVENT_DEPTH = v1.MAX_METADATA_DEPTH + 1
_EVENTS = "events"
_ITEM_PATH_LENGTH = 2
_BATCH_DEPTH = _EVENT_DEPTH + _ITEM_PATH_LENGTH

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
    document = strict_json.parse(await request.body(), _BATCH_DEPTH)
    refused = _refused_items(document)
    batch = _AnyBatch.model_validate(document.content)
    events: dict[int, NewEvent] = {}
    for index, item in enumerate(batch.events):
        if index in refused:
            continue
        try:
            report = v1.AuditEventCreate.model_validate(item)
        except ValidationError as error:
            refused[index] = to_app_error(error)
        else:
            event_id = reporter.event_id(report.event_id, index)
            events[index] = wire.new_event(report, report.event_type, event_id)
    recorded = await service.record(list(events.values()), reporter.principal)
    outcomes: dict[int, Outcome] = {**refused, **dict(zip(events, recorded, strict=True))}
    return WireResponse(wire.batch_result([outcomes[index] for index in range(len(outcomes))]))


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


def _refused_items(document: Document) -> dict[int, AppError]:
    """What is wrong with single events. Raises `InvalidRequestError` for what is wrong outside."""
    by_item: dict[int, list[dict[str, str]]] = {}
    outside = []
    for flaw in document.flaws:
        match flaw.path:
            case [str(name), int(index), *_] if name == _EVENTS:
                by_item.setdefault(index, []).append(flaw.below(_ITEM_PATH_LENGTH))
            case _:
                outside.append(flaw.below(0))
    if outside:
        raise InvalidRequestError(errors=outside)
    return {index: InvalidRequestError(errors=errors) for index, errors in by_item.items()}
