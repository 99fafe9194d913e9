"""The environment of the AI service's functions: a field is the variable of its upper-case name."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, Json, field_validator, model_validator

from contracts.ai.routing import RoutingSet
from servicekit.settings import Settings

MIN_SESSION_DAYS = 7


class FunctionSettings(Settings):
    """Of every function."""

    environment: Literal["local", "dev", "staging", "prod"]
    powertools_service_name: str = Field(min_length=1)
    powertools_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class TableSettings(FunctionSettings):
    """Of every function that reads the table."""

    table_name: str = Field(min_length=1)


class StorageSettings(TableSettings):
    """Of every function that reads conversations."""

    # Of images.
    content_bucket: str = Field(min_length=1)
    turn_retention_days: int = Field(ge=1)
    # How long a session lives after its last use; 0: until it is deleted. No job waits for as long.
    session_days: int = Field(ge=0)

    @field_validator("session_days")
    @classmethod
    def _longer_than_any_job(cls, days: int) -> int:
        if 0 < days < MIN_SESSION_DAYS:
            raise ValueError(f"sessions live {MIN_SESSION_DAYS} days at least")
        return days


class ApiSettings(StorageSettings):
    """Of the buffered function."""

    default_model: str = Field(min_length=1)
    additional_models: str
    # The policy of projects that have none, as JSON.
    routing: Json[RoutingSet]
    # At least as long as a turn may take, or a record would be gone before its turn is.
    idempotency_window_seconds: int = Field(ge=900)
    # Where an OpenAI-compatible server (Ollama, vLLM) answers; empty where there is none.
    openai_compatible_url: str

    @model_validator(mode="after")
    def _keys_lead_to_turns(self) -> Self:
        if self.idempotency_window_seconds > self.turn_retention_days * 24 * 3600:
            raise ValueError("idempotency_window_seconds is longer than turns are kept")
        return self

    @property
    def additional_model_names(self) -> list[str]:
        """The comma-separated names of `additional_models`."""
        return [name for part in self.additional_models.split(",") if (name := part.strip())]


class StreamSettings(ApiSettings):
    """Of the streaming function, which calls the models."""

    # Of the providers' APIs: never from a caller.
    openai_url: str = Field(min_length=1)
    anthropic_url: str = Field(min_length=1)
    gemini_url: str = Field(min_length=1)
    # Has the providers' SDKs loaded at the start, into the snapshot that each restore begins with.
    preload_sdks: bool
    model_first_byte_timeout_seconds: float = Field(gt=0)
    model_idle_timeout_seconds: float = Field(gt=0)


class QueueSettings(FunctionSettings):
    """Of every function that knows the jobs' queues."""

    high_queue_url: str = Field(min_length=1)
    normal_queue_url: str = Field(min_length=1)


class WorkerSettings(StreamSettings, QueueSettings):
    """Of the function that runs jobs."""

    # How often the queues give a message out: after its last time it is a dead letter.
    max_receives: int = Field(ge=2)
    # The SSM parameter that holds the address of the message service's API.
    messaging_url_parameter: str = Field(min_length=1)


class DispatchSettings(QueueSettings):
    """Of the function that brings jobs to their queues, and their events to the message service."""

    # The SSM parameter that holds the address of the message service's API.
    messaging_url_parameter: str = Field(min_length=1)


class UpkeepSettings(StorageSettings, QueueSettings):
    """Of the function that looks after what nobody asks for."""


class AuditSettings(TableSettings):
    """Of the function that brings audit records to the audit sink."""

    # The SSM parameter that holds the address of the audit sink's API.
    audit_url_parameter: str = Field(min_length=1)
