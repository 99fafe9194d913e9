"""What the front door is told at its start."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from localcloud.streaming import StreamedFunction


class ServicePlan(BaseModel):
    """One service: its port, and its APIs where they are deployed."""

    model_config = ConfigDict(frozen=True)

    name: str
    health_name: str
    port: int
    api_id: str | None = None
    websocket_api_id: str | None = None


class Plan(BaseModel):
    """Everything that the front door serves, and with what."""

    model_config = ConfigDict(frozen=True)

    # Address of the emulated AWS.
    endpoint: str
    services: list[ServicePlan]
    streamed: list[StreamedFunction]
    # Variables of every streamed application beside its function's own.
    environment: dict[str, str]
    # A directory whose `python` is the interpreter without the development environment.
    interpreter: Path
    logs: Path
    run: Path
    # Hash of the front door's own code: a door of older code is replaced.
    version: str
