"""What a person can set: environment variables LOCAL_*, or the same names in `.env`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import AnyHttpUrl, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from localcloud.errors import LocalCloudError

ROOT = Path(__file__).resolve().parents[2]
REGION = "us-east-1"
ACCOUNT = "000000000000"
STAGE = "live"
# Of the front door, where it passes WebSockets on.
WEBSOCKET_PATH = "/ws"
OPERATOR_ROLE = "local-operator"
# MiniStack's root credentials; they open nothing beyond this machine.
ROOT_KEY = "test"

Port = Annotated[int, Field(ge=1, le=65535)]


@dataclass(frozen=True)
class Service:
    """One service behind the front door."""

    name: str
    health_name: str
    port: int


class LocalSettings(BaseSettings):
    """Settings of the local cloud. Read once, by the command line."""

    model_config = SettingsConfigDict(
        env_prefix="LOCAL_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    state_dir: Path = Path(".local")
    cloud_port: Port = 4566
    projectflow_port: Port = 8000
    ai_port: Port = 8001
    browser_port: Port = 8002
    audit_port: Port = 8003
    messaging_port: Port = 8004
    # Where functions find Bedrock instead of in MiniStack.
    bedrock_endpoint_url: AnyHttpUrl | None = None
    # Where functions find the APIs of model providers, or an OpenAI-compatible server.
    openai_url: AnyHttpUrl | None = None
    anthropic_url: AnyHttpUrl | None = None
    gemini_url: AnyHttpUrl | None = None
    openai_compatible_url: AnyHttpUrl | None = None
    # Models beside the catalogue's, as `provider:name`, with commas between them.
    additional_models: str = ""
    # Sites of this machine that browsers may reach, as 127.0.0.1:port, with commas between them.
    browser_sites: str = ""
    # An Ollama model that answers behind MiniStack's Bedrock.
    model: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}$")
    ollama_url: AnyHttpUrl = AnyHttpUrl("http://127.0.0.1:11434")

    @field_validator("state_dir")
    @classmethod
    def _has_a_home(cls, value: Path) -> Path:
        try:
            value.expanduser()
        except RuntimeError as error:
            raise ValueError(f"{value} names no home directory") from error
        return value

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        ports = [self.cloud_port, *(service.port for service in self.services)]
        repeated = sorted({port for port in ports if ports.count(port) > 1})
        if repeated:
            raise ValueError(f"port {repeated[0]} is given twice")
        return self

    @property
    def services(self) -> tuple[Service, ...]:
        """The five services, each with the port at which its callers expect it."""
        return (
            Service("projectflow", "projectflow-ai", self.projectflow_port),
            Service("ai", "ai-service", self.ai_port),
            Service("browser", "browser-pool-service", self.browser_port),
            Service("audit", "audit-sink-service", self.audit_port),
            Service("messaging", "message-queue-service", self.messaging_port),
        )

    @property
    def state(self) -> Path:
        """The state directory as an absolute path; a relative one lies in the repository."""
        return (ROOT / self.state_dir.expanduser()).resolve()

    @property
    def endpoint(self) -> str:
        """Address of the emulated AWS, which never leaves this machine."""
        return f"http://127.0.0.1:{self.cloud_port}"


def load(*, env_file: Path | None = ROOT / ".env", **overrides: object) -> LocalSettings:
    """Read the settings; `overrides` are those of the command line, None where not given.

    Raises LocalCloudError naming the variable at fault.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return LocalSettings(_env_file=env_file, **given)  # type: ignore[arg-type]
    except UnicodeDecodeError as error:
        raise LocalCloudError(f"{env_file} is not UTF-8.", "Save it as UTF-8.") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = f"LOCAL_{first['loc'][0]}".upper() if first["loc"] else "LOCAL_*_PORT"
        reason = first["msg"].removeprefix("Value error, ")
        raise LocalCloudError(
            f"{name}: {reason}.", "Change it in the environment or in .env."
        ) from error
