"""A service's consumer from its settings: claims in its own table, its own queue."""

from __future__ import annotations

from datetime import timedelta

from servicekit.consumer import EventConsumer
from servicekit.consumer_claims import DynamoClaims
from servicekit.consumer_queue import SqsVisibility
from servicekit.consumer_settings import ConsumerSettings
from servicekit.consumption import Handler, ReplayFilter, Reporter
from servicekit.dynamodb import DynamoTable


def own_consumer(
    settings: ConsumerSettings,
    table: DynamoTable,
    reporter: Reporter,
    handle: Handler,
    replays: ReplayFilter | None = None,
) -> EventConsumer:
    """What the entrypoint's handler calls `consume` of."""
    queue = settings.consumer_queue_url.rpartition("/")[2]
    return EventConsumer(
        {queue: settings.consumer_name},
        claims=DynamoClaims(
            table,
            lease=timedelta(seconds=settings.consumer_lease_seconds),
            kept=timedelta(days=settings.consumer_claim_days),
        ),
        visibility=SqsVisibility(settings.consumer_queue_url),
        reporter=reporter,
        handle=handle,
        replays=replays,
    )
