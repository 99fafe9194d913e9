"""The audit sink as a service's outbox sends to it: its API, under the function's own role.

The one module here that needs servicekit: for functions that bring audit records, of any service.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import ValidationError

from contracts.audit import v1
from contracts.audit.client import AuditClient
from contracts.client.errors import (
    NotAllowedError,
    NotFoundError,
    RequestRefusedError,
    ServiceError,
)
from contracts.client.signing import SigV4
from servicekit.audit import JsonObject
from servicekit.audit_sender import (
    LATER,
    STORED,
    SinkRefusedError,
    SinkUnavailableError,
    Verdict,
)
from servicekit.aws import current_region
from servicekit.parameters import Address, ParameterUnavailableError

_TIMEOUT_SECONDS = 30.0
"""API Gateway answers within 29 s. Given up sooner, a cold start would be paid for twice."""

_REFUSALS = range(400, 500)
_TOO_MANY_REQUESTS = 429
_STORED = frozenset({200, 201})
_IN_PROGRESS = "idempotency_in_progress"


class AuditSink:
    """`audit_sender.Sink` on the audit sink's v1 API, with one client for as long as the address
    stays the same.
    """

    def __init__(self, address: Address, make: Callable[[str], AuditClient] | None = None) -> None:
        self._address = address
        self._make = make or _make_client
        self._client: AuditClient | None = None
        self._client_url = ""

    async def send(self, events: Sequence[JsonObject]) -> list[Verdict]:
        """See `audit_sender.Sink`."""
        try:
            reports = [v1.AuditEventCreate.model_validate(event) for event in events]
        except ValidationError:
            raise SinkRefusedError("invalid_request") from None
        try:
            client = await self._connected()
            result = await client.record_batch(reports)
        except (NotAllowedError, NotFoundError) as error:
            # Of our address or our rights: they can be mended, the events are as good as ever.
            self._address.forget()
            raise SinkUnavailableError from error
        except RequestRefusedError as error:
            raise SinkRefusedError(error.code) from error
        except (ServiceError, ParameterUnavailableError) as error:
            self._address.forget()
            raise SinkUnavailableError from error
        verdicts = {item.index: _verdict(item) for item in result.results}
        return [verdicts.get(index, LATER) for index in range(len(events))]

    async def _connected(self) -> AuditClient:
        url = await self._address.get()
        if self._client is None or url != self._client_url:
            if self._client is not None:
                await self._client.aclose()
            self._client = self._make(url)
            self._client_url = url
        return self._client


def _verdict(item: v1.BatchItem) -> Verdict:
    code = item.error.code if item.error else f"http_{item.status}"
    if item.status in _STORED:
        return STORED
    temporary = item.status == _TOO_MANY_REQUESTS or code == _IN_PROGRESS
    if item.status in _REFUSALS and not temporary:
        return Verdict("refused", code)
    return LATER


def _make_client(url: str) -> AuditClient:
    return AuditClient(url, auth=SigV4(region=current_region()), timeout=_TIMEOUT_SECONDS)
