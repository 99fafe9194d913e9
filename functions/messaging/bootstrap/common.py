"""What the functions' dependencies are made with."""

from __future__ import annotations

from functions.messaging.settings import BaseSettings
from servicekit.logging import configure_logging

PRODUCER = "messaging"
"""First part of the producers' names in this service's audit records."""


def begin(settings: BaseSettings) -> None:
    """Whatever comes before anything else in a process."""
    configure_logging(settings.powertools_service_name, settings.powertools_log_level)
