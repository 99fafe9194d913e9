"""Events in the form that they have on the bus, and back."""

from __future__ import annotations

from contracts.messaging.envelope import Envelope
from functions.messaging.domain.events import Event


def envelope_of(
    event: Event, *, dataschema: str | None = None, target: str | None = None
) -> Envelope:
    """What consumers get of the event; with `target`, only the consumer of that name."""
    return Envelope(
        id=event.event_id,
        source=event.source,
        type=event.event_type,
        time=event.occurred_at,
        dataschema=dataschema,
        correlationid=event.correlation_id,
        causationid=event.causation_id,
        traceparent=event.traceparent,
        requestid=event.request_id,
        userid=event.user_id,
        tenant=event.tenant,
        orderingkey=event.ordering_key,
        acceptedat=event.accepted_at,
        target=target,
        data=event.data,
    )
