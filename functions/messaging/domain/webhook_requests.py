"""The request that brings an event to an endpoint."""

from __future__ import annotations

from contracts.messaging.envelope import Envelope
from functions.messaging.domain.webhook_ports import Answered, Endpoints
from functions.messaging.domain.webhook_signing import Secrets, signed_headers
from servicekit.clock import Clock

_HEADERS = {"content-type": "application/json", "user-agent": "Santaclaude-Webhooks/1"}


class WebhookRequests:
    """Posts events, signed."""

    def __init__(self, endpoints: Endpoints, clock: Clock) -> None:
        self._endpoints = endpoints
        self._clock = clock

    async def post(self, url: str, secrets: Secrets, envelope: Envelope) -> Answered:
        """One attempt. The signature is of the time at which it is made."""
        # `target` speaks to the bus's rules alone.
        body = envelope.model_copy(update={"target": None}).model_dump_json().encode()
        signed = signed_headers(secrets, envelope.id, body, self._clock())
        return await self._endpoints.post(url, {**_HEADERS, **signed}, body)
