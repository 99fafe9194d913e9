"""The dependencies of the sweep."""

from __future__ import annotations

from datetime import timedelta

from functions.messaging.adapters.dynamodb_events import DynamoEvents
from functions.messaging.adapters.eventbridge import EventBridgeBus
from functions.messaging.adapters.schemas import EventSchemas
from functions.messaging.bootstrap.common import begin
from functions.messaging.domain.sweeping import Pace, Sweeper
from functions.messaging.settings import SweepSettings
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable
from servicekit.metrics import CloudWatchMetrics


def sweep_from_environment() -> Sweeper:
    """Raises `SettingsError`."""
    settings = SweepSettings.from_environment()
    begin(settings)
    return Sweeper(
        DynamoEvents(DynamoTable(settings.table_name), settings.event_retention_days),
        EventBridgeBus(settings.event_bus),
        EventSchemas(),
        CloudWatchMetrics(f"Santaclaude/{settings.environment}/messaging"),
        Pace(timedelta(seconds=settings.sweep_after_seconds), settings.sweep_events_per_second),
        utc_now,
    )
