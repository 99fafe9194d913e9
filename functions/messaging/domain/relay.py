"""What happens to each event of a stream: it is offered to the subscriptions."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from contracts.messaging.envelope import Envelope
from functions.messaging.domain.deliveries import Delivery, DeliveryService
from functions.messaging.domain.fanout import Fanout
from servicekit.bus_event import BusEvent, NotAnEventError
from servicekit.consumption import Handling, Report, ReportFailedError
from servicekit.errors import StoreUnavailableError


class Relay:
    """The handler of the streams' consumers."""

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout

    async def handle(self, handling: Handling) -> None:
        """Offers the event. Raises `NotAnEventError` and `StoreUnavailableError`."""
        event = handling.event
        await self._fanout.offer(_envelope(event), event.replay_id)


class OwnReports:
    """`consumption.Reporter` of the service's own consumers: no call to itself."""

    def __init__(self, deliveries: DeliveryService) -> None:
        self._deliveries = deliveries

    async def report(self, reports: Sequence[Report]) -> None:
        """See `consumption.Reporter`."""
        try:
            await self._deliveries.record([_delivery(report) for report in reports])
        except StoreUnavailableError as error:
            raise ReportFailedError from error


def _envelope(event: BusEvent) -> Envelope:
    try:
        return Envelope.model_validate(event.require_detail())
    except ValidationError:
        # What pydantic says quotes the event.
        raise NotAnEventError from None


def _delivery(report: Report) -> Delivery:
    event, attempt = report.event, report.attempt
    return Delivery(
        event_id=event.event_id,
        consumer=report.consumer,
        attempt=attempt.attempt,
        outcome=attempt.outcome,
        started_at=attempt.started_at,
        duration_ms=attempt.duration_ms,
        error=attempt.error,
        event_type=event.event_type,
        tenant=event.tenant,
        replay_id=event.replay_id,
        delivery_id=report.delivery_id,
    )
