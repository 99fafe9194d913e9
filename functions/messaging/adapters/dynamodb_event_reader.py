"""Accepted events, read by their id: `EVENT#<id>` / `EVENT`, which accepting writes."""

from __future__ import annotations

from typing import cast

from contracts.messaging.envelope import Envelope
from functions.messaging.adapters.dynamodb_life import event_pk
from functions.messaging.domain.envelopes import envelope_of
from functions.messaging.domain.events import Event
from servicekit.clock import from_text
from servicekit.dynamodb import DynamoTable, Item


class DynamoEventReader:
    """`webhook_ports.EventReader`."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def envelope(self, event_id: str) -> Envelope | None:
        """See `EventReader`."""
        item = await self._table.get({"pk": event_pk(event_id), "sk": "EVENT"})
        return envelope_of(_event(item)) if item else None


def _event(item: Item) -> Event:
    return Event(
        event_id=str(item["event_id"]),
        event_type=str(item["event_type"]),
        payload=str(item["payload"]),
        source=str(item["source"]),
        tenant=str(item["tenant"]),
        correlation_id=str(item["correlation_id"]),
        occurred_at=from_text(str(item["occurred_at"])),
        accepted_at=from_text(str(item["accepted_at"])),
        fingerprint=str(item["fingerprint"]),
        causation_id=cast("str | None", item.get("causation_id")),
        traceparent=cast("str | None", item.get("traceparent")),
        request_id=cast("str | None", item.get("request_id")),
        user_id=cast("int | None", item.get("user_id")),
        ordering_key=cast("str | None", item.get("ordering_key")),
        retry_count=cast("int", item.get("retry_count") or 0),
    )
