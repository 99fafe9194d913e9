"""The dependencies of the calls that are made all the time."""

from __future__ import annotations

from functions.messaging.bootstrap.common import begin
from functions.messaging.bootstrap.progress import progress_service
from functions.messaging.domain.dependencies import Publish
from functions.messaging.settings import PublishSettings
from servicekit.dynamodb import DynamoTable


def publish_from_environment() -> Publish:
    """Raises `SettingsError`."""
    settings = PublishSettings.from_environment()
    begin(settings)
    table = DynamoTable(settings.table_name)
    return Publish(progress=progress_service(settings, table))
