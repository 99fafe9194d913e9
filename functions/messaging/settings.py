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

    # The function that pushes to topics with many connections.
    push_function: str = Field(min_length=1)


class SocketSettings(PushingSettings):
    """Of the WebSocket API's routes."""


class PushSettings(PushingSettings):
    """Of the function that pushes to many connections."""


class ControlSettings(BaseSettings):
    """Of the calls that read and administrate."""

    # The WebSocket's address for clients, without a ticket.
    websocket_url: str = Field(min_length=1)
