"""The dependencies of the streams' consumers."""

from __future__ import annotations

from datetime import timedelta

from contracts.messaging.streams import ALL_STREAMS, MAX_RECEIVES
from functions.messaging.adapters.dynamodb_replays import DynamoReplays
from functions.messaging.bootstrap.common import begin
from functions.messaging.bootstrap.consuming import delivery_service
from functions.messaging.bootstrap.webhooks import fanout
from functions.messaging.domain.relay import OwnReports, Relay
from functions.messaging.domain.replays import StreamReplays
from functions.messaging.settings import RelaySettings
from servicekit.clock import utc_now
from servicekit.consumer import EventConsumer
from servicekit.consumer_claims import DynamoClaims
from servicekit.consumer_queue import SqsVisibility
from servicekit.dynamodb import DynamoTable


def relay_from_environment() -> EventConsumer:
    """Raises `SettingsError`."""
    settings = RelaySettings.from_environment()
    begin(settings)
    table = DynamoTable(settings.table_name)
    kept = settings.event_retention_days
    relay = Relay(fanout(settings, table))
    return EventConsumer(
        {f"{settings.stream_queue_prefix}{stream}": stream for stream in ALL_STREAMS},
        claims=DynamoClaims(
            table,
            lease=timedelta(seconds=settings.claim_lease_seconds),
            kept=timedelta(days=kept),
        ),
        visibility=SqsVisibility(settings.stream_queue_url),
        reporter=OwnReports(delivery_service(table, kept)),
        handle=relay.handle,
        replays=StreamReplays(DynamoReplays(table, utc_now, kept)),
        max_receives=MAX_RECEIVES,
    )
