"""The calls that publish."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import Field

from contracts.base import WireModel
from contracts.messaging import publishing as contract
from functions.messaging.domain.dependencies import Publish
from functions.messaging.domain.publishing import (
    NewEvent,
    Publishing,
    choose_event_id,
    source_of,
)
from functions.messaging.routes import event_wire
from servicekit import strict_json
from servicekit.context import RequestContext, current_context
from servicekit.event_batches import read_batch
from servicekit.fastapi_app import idempotency_key, signed_router
from servicekit.idempotency import fingerprint
from servicekit.identity import require_caller
from servicekit.responses import WireResponse

_EVENT_DEPTH = contract.MAX_PAYLOAD_DEPTH + 1
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
    batch = read_batch(
        await request.body(), _EVENT_DEPTH, _AnyBatch.model_validate, publisher.event
    )
    published = await service.publish(list(batch.events.values()))
    return WireResponse(event_wire.batch_result(batch.outcomes(published)), 202)
