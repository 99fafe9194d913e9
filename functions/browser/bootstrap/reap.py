"""The dependencies of the reaper."""

from __future__ import annotations

from functions.browser.adapters.dynamodb_sessions import DynamoSessions
from functions.browser.adapters.s3_objects import S3Objects
from functions.browser.bootstrap.common import begin, limits
from functions.browser.domain.sessions import Reaper
from functions.browser.settings import ReaperSettings
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable


def reaper_from_environment() -> Reaper:
    """Raises `SettingsError`."""
    settings = ReaperSettings.from_environment()
    begin(settings)
    store = DynamoSessions(DynamoTable(settings.table_name))
    return Reaper(store, S3Objects(settings.objects_bucket), limits(settings), utc_now)
