"""The dependencies of the calls that are made all the time."""

from __future__ import annotations

from functions.messaging.adapters.dynamodb_events import DynamoEvents
from functions.messaging.adapters.eventbridge import EventBridgeBus
from functions.messaging.adapters.schemas import EventSchemas
from functions.messaging.bootstrap.common import begin
from functions.messaging.bootstrap.consuming import delivery_service
from functions.messaging.bootstrap.progress import progress_service
from functions.messaging.domain.dependencies import Publish
from functions.messaging.domain.publishing import Publishing
from functions.messaging.settings import PublishSettings
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable


def publish_from_environment() -> Publish:
    """Raises `SettingsError`."""
    settings = PublishSettings.from_environment()
    begin(settings)
    table = DynamoTable(settings.table_name)
    return Publish(
        events=Publishing(
            DynamoEvents(table, settings.event_retention_days),
            EventBridgeBus(settings.event_bus),
            EventSchemas(),
            utc_now,
        ),
        deliveries=delivery_service(table, settings.event_retention_days),
        progress=progress_service(settings, table),
    )
