"""The calls that publish."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import Field, ValidationError

from contracts.base import WireModel
from contracts.messaging import publishing as contract
from functions.messaging.domain.dependencies import Publish
from functions.messaging.domain.publishing import (
    NewEvent,
    Outcome,
    Publishing,
    choose_event_id,
    source_of,
)
from functions.messaging.routes import event_wire
from servicekit import strict_json
from servicekit.context import RequestContext, current_context
from servicekit.errors import AppError, InvalidRequestError
from servicekit.fastapi_app import idempotency_key, signed_router
from servicekit.idempotency import fingerprint
from servicekit.identity import require_caller
from servicekit.problems import to_app_error
from servicekit.responses import WireResponse
from servicekit.strict_json import Document

_EVENTS = "events"
_ITEM_PATH_LENGTH = 2
_EVENT_DEPTH = contract.MAX_PAYLOAD_DEPTH + 1
_BATCH_DEPTH = _EVENT_DEPTH + _ITEM_PATH_LENGTH
# Who publishes the same event again may say how often it was tried.
_OF_THE_CALL = "retry_count"

routes = signed_router()


class _AnyBatch(WireModel):
    """A batch whose events are not looked at yet."""

    events: Annotated[list[Any], Field(min_length=1, max_length=contract.MAX_BATCH_EVENTS)]


class Publisher:
    """Who publishes, under which Idempotency-Key, and in which request."""

    def __init__(self, principal: str, key: str | None, context: RequestContext | None) -> None:
        self._principal = principal
        self._source = source_of(principal)
        self._key = key
        self._request_id = context.request_id if context else None
        self._traceparent = context.trace.traceparent if context else None

    def event(self, body: Any, index: int = 0) -> NewEvent:
        """The event of a body. Raises `ValidationError`."""
        sent = contract.EventCreate.model_validate(body)
        kept = {name: value for name, value in body.items() if name != _OF_THE_CALL}
        return NewEvent(
            event_id=choose_event_id(sent.id, self._key, self._principal, index),
            event_type=sent.event_type,
            payload=sent.payload,
            source=self._source,
            fingerprint=fingerprint(kept),
            correlation_id=sent.correlation_id,
            causation_id=sent.causation_id,
            traceparent=sent.traceparent or self._traceparent,
            request_id=sent.request_id or self._request_id,
            user_id=sent.user_id,
            ordering_key=sent.ordering_key,
            occurred_at=sent.timestamp,
            retry_count=sent.retry_count,
        )


# Asynchronous: FastAPI sends what is not to a thread.
async def _service(request: Request) -> Publishing:
    dependencies: Publish = request.app.state.dependencies
    return dependencies.events


async def _publisher(request: Request) -> Publisher:
    principal = require_caller(request.scope).principal
    return Publisher(principal, idempotency_key(request), current_context())


ServiceDep = Annotated[Publishing, Depends(_service)]
PublisherDep = Annotated[Publisher, Depends(_publisher)]


@routes.post("/api/v1/events")
async def publish_event(
    request: Request, service: ServiceDep, publisher: PublisherDep
) -> WireResponse:
    """Publishes an event."""
    document = strict_json.parse(await request.body(), _EVENT_DEPTH)
    event = publisher.event(strict_json.require_sound(document))
    return WireResponse(event_wire.accepted(await service.publish_one(event)), 202)


@routes.post("/api/v1/events/batch")
async def publish_batch(
    request: Request, service: ServiceDep, publisher: PublisherDep
) -> WireResponse:
    """Publishes up to 100 events, each by itself."""
    document = strict_json.parse(await request.body(), _BATCH_DEPTH)
    refused = _refused_items(document)
    batch = _AnyBatch.model_validate(document.content)
    events: dict[int, NewEvent] = {}
    for index, item in enumerate(batch.events):
        if index in refused:
            continue
        try:
            events[index] = publisher.event(item, index)
        except ValidationError as error:
            refused[index] = to_app_error(error)
    published = await service.publish(list(events.values()))
    outcomes: dict[int, Outcome] = {**refused, **dict(zip(events, published, strict=True))}
    result = event_wire.batch_result([outcomes[index] for index in range(len(outcomes))])
    return WireResponse(result, 202)


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
