"""What differs between environments, in one place: constructs never ask which one they are in."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from aws_cdk.aws_logs import RetentionDays

Environment = Literal["local", "dev", "staging", "prod"]


class InvalidSettingError(ValueError):
    """A CDK context value that the app cannot use."""


@dataclass(frozen=True, kw_only=True)
class DeploySettings:
    """One environment. Every name that another stack relies on is derived here."""

    environment: Environment
    # Data stores survive `cdk destroy` and the removal of their stack.
    retain_data: bool = False
    log_retention: RetentionDays = RetentionDays.TWO_WEEKS
    # Requests a second and burst that one API takes before API Gateway answers 429.
    throttling_rate: int = 100
    throttling_burst: int = 200
    # Roles of this account, beside the services', that may call the internal APIs.
    operator_role_names: tuple[str, ...] = ()
    # Bedrock model ids: the one a session gets when it names none, and ones beside the catalogue's.
    default_model: str = "amazon.nova-lite-v1:0"
    additional_models: tuple[str, ...] = ()
    # A snapshot of the initialized function at each deployment (AWS bills its cache and restores).
    snap_start: bool = False
    # How long the answer to an Idempotency-Key is repeated.
    idempotency_window_seconds: int = 24 * 3600

    # What ConverseStream needs:
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
    model_actions: tuple[str, ...] = ("bedrock:InvokeModelWithResponseStream",)

    # The local cloud differs from AWS in these and in the actions above, and in nothing else.
    response_streaming: bool = True
    trust_local_operator: bool = False
    native_platform: bool = False
    bootstrap_roles: bool = True

    @property
    def prefix(self) -> str:
        """First part of every resource name."""
        return f"santaclaude-{self.environment}"

    def parameter(self, *path: str) -> str:
        """Name of an SSM parameter, the only way in which stacks know of each other."""
        return "/".join(("", "santaclaude", self.environment, *path))


LOCAL_OPERATOR = "local-operator"

_ENVIRONMENTS: dict[str, DeploySettings] = {
    "local": DeploySettings(
        environment="local",
        log_retention=RetentionDays.THREE_DAYS,
        throttling_rate=10_000,
        throttling_burst=5_000,
        operator_role_names=(LOCAL_OPERATOR,),
        response_streaming=False,
        trust_local_operator=True,
        native_platform=True,
        bootstrap_roles=False,
        # MiniStack asks for an action of this name, which AWS does not have.
        model_actions=("bedrock:ConverseStream",),
    ),
    "dev": DeploySettings(environment="dev"),
    "staging": DeploySettings(environment="staging", log_retention=RetentionDays.ONE_MONTH),
    "prod": DeploySettings(
        environment="prod",
        retain_data=True,
        log_retention=RetentionDays.ONE_YEAR,
        throttling_rate=1_000,
        throttling_burst=2_000,
    ),
}


def _names(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


def load(context: Callable[[str], Any]) -> DeploySettings:
    """Settings for the CDK context: `-c env=dev [-c operators=RoleA,RoleB] [-c default_model=...]
    [-c additional_models=...]`.

    Raises InvalidSettingError for an environment that does not exist.
    """
    environment = context("env") or "dev"
    if environment not in _ENVIRONMENTS:
        known = ", ".join(_ENVIRONMENTS)
        raise InvalidSettingError(f"-c env={environment}: choose one of {known}")
    settings = _ENVIRONMENTS[environment]
    operators = settings.operator_role_names + _names(context("operators") or "")
    return replace(
        settings,
        operator_role_names=operators,
        default_model=context("default_model") or settings.default_model,
        additional_models=_names(context("additional_models") or ""),
    )
