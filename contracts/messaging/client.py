"""Calls the message service."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from contracts.client.errors import NotFoundError
from contracts.client.service_client import ServiceClient
from contracts.client.transport import NO_OPTIONS, Call, CallOptions
from contracts.event import EventPayload
from contracts.messaging import deliveries
from contracts.messaging import progress as live
from contracts.messaging import publishing as wire

_EVENTS = "/api/v1/events"
_EVENT_NOT_FOUND = "event_not_found"

Publishable = wire.EventCreate | EventPayload
"""An event, or the typed payload of one that has nothing else to say."""


class MessageClient(ServiceClient):
    """The message service's v1 calls. An event with an `id`, or a call with an idempotency key, may
    be repeated when its outcome is unknown.
    """

    SERVICE = "message-queue-service"
    ADDRESS_VARIABLE = "MESSAGING_SERVICE_URL"

    async def publish(
        self, event: Publishable, *, options: CallOptions = NO_OPTIONS
    ) -> wire.EventAccepted:
        """Publish an event; `EventCreate.of` gives a typed payload its attributes.

        Raises `ConflictError` when its id was used for another event.
        """
        call = Call(
            operation="publish_event",
            method="POST",
            path=_EVENTS,
            body=_event(event),
            options=options,
        )
        return await self._fetch(call, wire.EventAccepted)

    async def publish_batch(
        self, events: Sequence[Publishable], *, options: CallOptions = NO_OPTIONS
    ) -> wire.EventBatchResult:
        """Publish up to 100 events; the result tells of each whether it is accepted."""
        call = Call(
            operation="publish_batch",
            method="POST",
            path=f"{_EVENTS}/batch",
            body=wire.EventBatch(events=[_event(event) for event in events]),
            options=options,
        )
        return await self._fetch(call, wire.EventBatchResult)

    async def get_event(
        self, event_id: str, *, options: CallOptions = NO_OPTIONS
    ) -> wire.EventLife | None:
        """The event and its life; None if there is no such event."""
        path = f"{_EVENTS}/{quote(event_id, safe='')}"
        call = Call(operation="get_event", method="GET", path=path, options=options)
        try:
            return await self._fetch(call, wire.EventLife)
        except NotFoundError as error:
            # A base URL that leads to another service must not look like a missing event.
            if error.code != _EVENT_NOT_FOUND:
                raise
            return None

    async def find_events(
        self,
        correlation_id: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        options: CallOptions = NO_OPTIONS,
    ) -> wire.EventChain:
        """A page of the chain of a correlation id, in the order of acceptance."""
        call = Call(
            operation="find_events",
            method="GET",
            path=_EVENTS,
            query={"correlation_id": correlation_id, "limit": limit, "cursor": cursor},
            options=options,
        )
        return await self._fetch(call, wire.EventChain)

    async def event_types(self, *, options: CallOptions = NO_OPTIONS) -> wire.EventTypeList:
        """Every type of event that has a schema."""
        call = Call(
            operation="list_event_types",
            method="GET",
            path="/api/v1/event-types",
            options=options,
        )
        return await self._fetch(call, wire.EventTypeList)

    async def report_deliveries(
        self, batch: deliveries.DeliveryBatch, *, options: CallOptions = NO_OPTIONS
    ) -> deliveries.DeliveryBatchResult:
        """Report attempts of the caller's own consumers; may be repeated."""
        call = Call(
            operation="report_deliveries",
            method="POST",
            path="/api/v1/deliveries",
            body=batch,
            options=options,
        )
        return await self._fetch(call, deliveries.DeliveryBatchResult)

    async def create_ticket(
        self,
        topics: Sequence[str],
        *,
        user_id: int | None = None,
        options: CallOptions = NO_OPTIONS,
    ) -> live.Ticket:
        """A ticket for a client that may follow these topics: checked by whoever calls this."""
        ticket = {"topics": list(topics)} | ({} if user_id is None else {"user_id": user_id})
        call = Call(
            operation="create_ticket",
            method="POST",
            path="/api/v1/tickets",
            body=live.TicketCreate.model_validate(ticket),
            options=options,
        )
        return await self._fetch(call, live.Ticket)

    async def post_progress(
        self, message: live.ProgressCreate, *, options: CallOptions = NO_OPTIONS
    ) -> live.Progress:
        """Tell whoever follows the topic. Raises `ConflictError` when the message's event id was
        used with another one; with an event id it may be repeated.
        """
        call = Call(
            operation="post_progress",
            method="POST",
            path="/api/v1/progress",
            body=message,
            options=options,
        )
        return await self._fetch(call, live.Progress)

    async def post_progress_batch(
        self, messages: Sequence[live.ProgressCreate], *, options: CallOptions = NO_OPTIONS
    ) -> live.ProgressBatchResult:
        """The same for up to 25 messages; the result tells of each what came of it."""
        call = Call(
            operation="post_progress_batch",
            method="POST",
            path="/api/v1/progress/batch",
            body=live.ProgressBatch(messages=list(messages)),
            options=options,
        )
        return await self._fetch(call, live.ProgressBatchResult)


def _event(event: Publishable) -> wire.EventCreate:
    return wire.EventCreate.of(event) if isinstance(event, EventPayload) else event
