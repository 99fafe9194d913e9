"""The environment of the message service's functions: a field is the variable of its upper-case
name.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from servicekit.settings import Settings


class BaseSettings(Settings):
    """Of every function."""

    environment: Literal["local", "dev", "staging", "prod"]
    powertools_service_name: str = Field(min_length=1)
    powertools_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    table_name: str = Field(min_length=1)
    # How long an event, and what happened to it, can be read.
    event_retention_days: int = Field(ge=1)


class PublishSettings(BaseSettings):
    """Of the calls that are made all the time: events, reports of consumers, progress."""


class ControlSettings(BaseSettings):
    """Of the calls that read and administrate."""

    # How long the answer to an Idempotency-Key is repeated.
    idempotency_window_seconds: int = Field(ge=1)
    # Whether webhooks may go to loopback addresses, and by http.
    webhooks_on_loopback: bool


class DueSettings(BaseSettings):
    """Of the sweep that sends for webhook deliveries that are due."""

    deliveries_queue_url: str = Field(min_length=1)
    ordered_deliveries_queue_url: str = Field(min_length=1)


class DeliverSettings(DueSettings):
    """Of the worker that posts events to webhooks."""

    webhooks_on_loopback: bool
    # A subscription is disabled when no attempt succeeded for so long, and so many were given up.
    webhook_failing_hours: int = Field(ge=1)
    webhook_failing_dead: int = Field(ge=1)
