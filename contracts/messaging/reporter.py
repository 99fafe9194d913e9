"""Attempts of a service's consumers, told to the message service: its API, under the function's
own role.

For functions that consume events; needs servicekit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contracts.client.errors import ServiceError
from contracts.client.signing import SigV4
from contracts.messaging.client import MessageClient
from contracts.messaging.deliveries import DeliveryBatch, DeliveryReport
from servicekit.aws import current_region
from servicekit.consumption import Report, ReportFailedError
from servicekit.parameters import Address, ParameterUnavailableError

_TIMEOUT_SECONDS = 10.0
"""A report waits for a cold start, and no longer: it is sent again with the message."""

_RECORDED = 200


class MessageReporter:
    """`consumption.Reporter` on the message service's v1 API, with one client for as long as the
    address stays the same.
    """

    def __init__(
        self, address: Address, make: Callable[[str], MessageClient] | None = None
    ) -> None:
        self._address = address
        self._make = make or _make_client
        self._client: MessageClient | None = None
        self._client_url = ""

    async def report(self, reports: Sequence[Report]) -> None:
        """See `consumption.Reporter`."""
        batch = DeliveryBatch(deliveries=[_wire(report) for report in reports])
        try:
            client = await self._connected()
            result = await client.report_deliveries(batch)
        except (ServiceError, ParameterUnavailableError) as error:
            self._address.forget()
            raise ReportFailedError from error
        refused = sorted({item.status for item in result.results if item.status != _RECORDED})
        if refused:
            raise ReportFailedError(f"reports were refused: {refused}")

    async def _connected(self) -> MessageClient:
        url = await self._address.get()
        if self._client is None or url != self._client_url:
            if self._client is not None:
                await self._client.aclose()
            self._client = self._make(url)
            self._client_url = url
        return self._client


def _wire(report: Report) -> DeliveryReport:
    event, attempt = report.event, report.attempt
    optional = {
        "error": attempt.error,
        "event_type": event.event_type,
        "tenant": event.tenant,
        "replay_id": event.replay_id,
    }
    return DeliveryReport(
        event_id=event.event_id,
        consumer=report.consumer,
        attempt=attempt.attempt,
        outcome=attempt.outcome,
        duration_ms=attempt.duration_ms,
        started_at=attempt.started_at,
        delivery_id=report.delivery_id,
        **{name: value for name, value in optional.items() if value is not None},
    )


def _make_client(url: str) -> MessageClient:
    return MessageClient(url, auth=SigV4(region=current_region()), timeout=_TIMEOUT_SECONDS)
