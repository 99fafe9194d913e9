"""What the functions' dependencies are made with."""

from __future__ import annotations

from datetime import timedelta

from functions.browser.domain.sessions import Limits
from functions.browser.settings import BaseSettings, SessionSettings
from servicekit.logging import configure_logging

PRODUCER = "browser"
"""First part of the producers' names in this service's audit records."""


def begin(settings: BaseSettings) -> None:
    """Whatever comes before anything else in a process."""
    configure_logging(settings.powertools_service_name, settings.powertools_log_level)


def limits(settings: SessionSettings) -> Limits:
    """Of sessions, as the environment says."""
    return Limits(
        pool=settings.max_sessions,
        per_project=settings.max_project_sessions,
        per_user=settings.max_user_sessions,
        idle=timedelta(seconds=settings.session_idle_seconds),
        age=timedelta(seconds=settings.session_age_seconds),
    )
