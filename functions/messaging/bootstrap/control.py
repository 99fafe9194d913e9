"""The dependencies of the calls that read and administrate."""

from __future__ import annotations

from functools import partial

from functions.messaging.adapters.dynamodb_events import DynamoEvents
from functions.messaging.adapters.dynamodb_life import DynamoLife
from functions.messaging.bootstrap.common import begin
from functions.messaging.domain.dependencies import Control
from functions.messaging.domain.event_life import EventReader
from functions.messaging.settings import ControlSettings
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable


def control_from_environment() -> Control:
    """Raises `SettingsError`."""
    settings = ControlSettings.from_environment()
    begin(settings)
    table = DynamoTable(settings.table_name)
    kept = settings.event_retention_days
    return Control(
        service_name=settings.powertools_service_name,
        checks={"dynamodb": partial(table.get, {"pk": "READY", "sk": "READY"})},
        events=EventReader(DynamoEvents(table, kept), DynamoLife(table, utc_now, kept)),
    )
