"""The dependencies of the calls that read and administrate."""

from __future__ import annotations

from functools import partial

from functions.messaging.bootstrap.common import begin
from functions.messaging.bootstrap.webhooks import subscription_service
from functions.messaging.domain.dependencies import Control
from functions.messaging.settings import ControlSettings
from servicekit.dynamodb import DynamoTable


def control_from_environment() -> Control:
    """Raises `SettingsError`."""
    settings = ControlSettings.from_environment()
    begin(settings)
    table = DynamoTable(settings.table_name)
    return Control(
        service_name=settings.powertools_service_name,
        checks={"dynamodb": partial(table.get, {"pk": "READY", "sk": "READY"})},
        subscriptions=subscription_service(settings, table),
    )
