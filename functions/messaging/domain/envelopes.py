"""Events in the form that they have on the bus, and back."""

from __future__ import annotations

from contracts.messaging.envelope import Envelope
from functions.messaging.domain.events import Event
from functions.messaging.domain.ports import EventStore, Schemas


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


_TIME_BYTES = 14
"""What AWS counts for the time of an entry."""


def entry_bytes(envelope: Envelope) -> int:
    """What the event counts as an entry of the bus: time, source, type and detail.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevent-size.html
    """
    detail = len(envelope.model_dump_json().encode())
    return _TIME_BYTES + len(envelope.source.encode()) + len(envelope.type.encode()) + detail


class StoredEnvelopes:
    """Accepted events, as consumers get them: `ports.Envelopes`."""

    def __init__(self, store: EventStore, schemas: Schemas) -> None:
        self._store = store
        self._schemas = schemas

    async def envelope(self, event_id: str) -> Envelope | None:
        """See `Envelopes`."""
        event = await self._store.get(event_id)
        if event is None:
            return None
        return envelope_of(event, dataschema=self._schemas.path_of(event.event_type))
