"""The dependencies of the reaper."""

from __future__ import annotations

from functions.browser.adapters.dynamodb_sessions import DynamoSessions
from functions.browser.bootstrap.common import begin, limits
from functions.browser.domain.sessions import Reaper
from functions.browser.settings import SessionSettings
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable


def reaper_from_environment() -> Reaper:
    """Raises `SettingsError`."""
    settings = SessionSettings.from_environment()
    begin(settings)
    return Reaper(DynamoSessions(DynamoTable(settings.table_name)), limits(settings), utc_now)
