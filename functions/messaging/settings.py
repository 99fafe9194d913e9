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


class PushingSettings(BaseSettings):
    """Of whatever sends to the connections of the WebSocket API."""

    # Where they are managed: the API's address over HTTP.
    connections_url: str = Field(min_length=1)


class PublishSettings(PushingSettings):
    """Of the calls that are made all the time: events, reports of consumers, progress."""

    event_bus: str = Field(min_length=1)
    # The function that pushes to topics with many connections.
    push_function: str = Field(min_length=1)


class SweepSettings(BaseSettings):
    """Of the function that sends what was left behind."""

    event_bus: str = Field(min_length=1)
    # Longer than a call that publishes may take: younger events are still in its hands.
    sweep_after_seconds: int = Field(ge=30)
    sweep_events_per_second: int = Field(ge=1)


class SocketSettings(PushingSettings):
    """Of the WebSocket API's routes."""


class PushSettings(PushingSettings):
    """Of the function that pushes to many connections."""


class ControlSettings(BaseSettings):
    """Of the calls that read and administrate."""

    tasks_queue_url: str = Field(min_length=1)
    # Of one stream's queue; the others lie beside it. Names of queues and rules begin so.
    stream_queue_url: str = Field(min_length=1)
    stream_queue_prefix: str = Field(min_length=1)
    event_bus_arn: str = Field(pattern=":event-bus/")
    event_archive_arn: str = Field(pattern=":archive/")
    # The WebSocket's address for clients, without a ticket.
    websocket_url: str = Field(min_length=1)
    # How long the answer to an Idempotency-Key is repeated.
    idempotency_window_seconds: int = Field(ge=1)
    # Whether webhooks may go to loopback addresses, and by http.
    webhooks_on_loopback: bool


class WebhookQueueSettings(BaseSettings):
    """Of whatever sends for webhook deliveries."""

    deliveries_queue_url: str = Field(min_length=1)
    ordered_deliveries_queue_url: str = Field(min_length=1)


class RelaySettings(WebhookQueueSettings):
    """Of the streams' consumers."""

    stream_queue_url: str = Field(min_length=1)
    stream_queue_prefix: str = Field(min_length=1)
    # Longer than the function may run.
    claim_lease_seconds: int = Field(ge=1)


class TasksSettings(WebhookQueueSettings):
    """Of what the service does later."""

    event_bus: str = Field(min_length=1)
    tasks_queue_url: str = Field(min_length=1)


class AuditSettings(BaseSettings):
    """Of the function that brings audit records to the audit sink."""

    # The SSM parameter that holds the address of the audit sink's API.
    audit_url_parameter: str = Field(min_length=1)


class DueSettings(WebhookQueueSettings):
    """Of the sweep that sends for webhook deliveries that are due."""

    event_bus: str = Field(min_length=1)


class DeliverSettings(DueSettings):
    """Of the worker that posts events to webhooks."""

    webhooks_on_loopback: bool
    # A subscription is disabled when no attempt succeeded for so long, and so many were given up.
    webhook_failing_hours: int = Field(ge=1)
    webhook_failing_dead: int = Field(ge=1)
