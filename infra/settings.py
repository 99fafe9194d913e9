"""What differs between environments, in one place: constructs never ask which one they are in."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from aws_cdk.aws_logs import RetentionDays
from pydantic import ValidationError

from contracts.ai.routing import RoutingSet

Environment = Literal["local", "dev", "staging", "prod"]
LockMode = Literal["governance", "compliance"]


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
    # The model a session gets when it names none, and ones beside the catalogue's: `provider:name`,
    # or a Bedrock id alone.
    default_model: str = "amazon.nova-lite-v1:0"
    additional_models: tuple[str, ...] = ()
    # Where the providers' APIs answer; an OpenAI-compatible server (Ollama, vLLM) may be one more.
    openai_url: str = "https://api.openai.com/v1"
    anthropic_url: str = "https://api.anthropic.com"
    gemini_url: str = "https://generativelanguage.googleapis.com/v1beta/openai/"
    openai_compatible_url: str = ""
    # Which models answer, which stand in for one that fails, and whether the oldest messages are
    # summarised, in projects without a policy of their own: `contracts.ai.routing.RoutingSet` as
    # JSON.
    routing: str = RoutingSet(default=[], fallbacks=[]).model_dump_json()
    # A snapshot of the initialized function at each deployment (AWS bills its cache and restores).
    snap_start: bool = False
    # How long the answer to an Idempotency-Key is repeated.
    idempotency_window_seconds: int = 24 * 3600

    # How long turns can be read by their id; their events are kept for a day.
    turn_retention_days: int = 30

    # How long a session lives after the day of its last use, with its messages, turns and images:
    # 7 days at least, or 0, until somebody deletes it.
    session_days: int = 0

    # How long images can be read that no deletion of a session removes.
    content_retention_days: int = 365

    # How many jobs of a priority are worked on at the same time, 2 at least: each holds one
    # execution environment of the account's for as long as its model writes.
    high_jobs_at_once: int = 20
    normal_jobs_at_once: int = 10

    # How long an event of the message service, and what happened to it, can be read.
    event_retention_days: int = 30
    # When the sweep sends an accepted event that the bus does not have, longer than a call may
    # take, and how many a second at most.
    event_sweep_after_seconds: int = 60
    event_sweep_rate: int = 200

    # How many calls of a consumer's function work on one of its queues at a time; None leaves it to
    # Lambda.
    consumers_at_once: int | None = None

    # Webhooks go to public addresses by https alone, unless loopback and http are admitted.
    webhooks_on_loopback: bool = False
    # A subscription is disabled when for so many hours no attempt succeeded, and so many of its
    # events were given up.
    webhook_failing_hours: int = 24
    webhook_failing_dead: int = 5
    # How many workers post to webhooks at the same time, 2 at least, for each of two queues.
    webhook_workers_at_once: int = 20

    # The browser pool is deployed where there is a browser: an image of this account's registry, as
    # `<repository>@<digest>` or `<repository>:<tag>`, or `build`, which builds it with what
    # CDK_DOCKER names; in the local cloud the machine's Chromium.
    browser_image: str = ""
    chromium_path: str = ""
    # Whether Chromium's own sandbox works there.
    chromium_sandbox: bool = False
    # What pages may reach beside the public web's ports 80 and 443, as host:port; `strict` admits
    # these alone. Sites of this machine, for tests, are named apart.
    browser_sites: tuple[str, ...] = ()
    browser_strict: bool = False
    browser_loopback_sites: tuple[str, ...] = ()
    # How many sessions may be open in all, of a project and of a user, and for how long.
    browser_sessions: int = 20
    browser_project_sessions: int = 10
    browser_user_sessions: int = 5
    browser_idle_seconds: int = 300
    browser_age_seconds: int = 3600
    # How long a session's checkpoints and files are kept.
    browser_object_days: int = 1

    # How long audit records answer from the table at once, and how long the archive keeps them.
    audit_hot_days: int = 90
    audit_retention_days: int = 365
    # What is masked in the free text of audit records: names of `functions/audit/domain`'s kinds.
    audit_masked_kinds: tuple[str, ...] = ("email", "phone", "ssn", "credit_card")
    # How long nobody can delete what proves the audit records: evidence outlives the records that
    # it speaks of. Under `compliance` that holds for the account's root too, so that an environment
    # which is to be destroyed again has `governance`, and a day.
    audit_lock_mode: LockMode = "governance"
    audit_lock_days: int = 1
    # A record is sealed one interval after it was accepted at the latest.
    audit_seal_interval_minutes: int = 1
    # Indexes of DynamoDB are behind by less than this; until then queries find a record by its
    # pending marker, which sealing removes.
    audit_settle_seconds: int = 2
    # Firehose delivers after that time or 128 MB, whichever comes first: 300 s make few objects of
    # a size that queries like.
    audit_archive_interval_seconds: int = 300

    # What ConverseStream needs:
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
    model_actions: tuple[str, ...] = ("bedrock:InvokeModelWithResponseStream",)
    # What SendMessageBatch needs:
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
    batch_send_action: str = "sqs:SendMessage"

    # The local cloud differs from AWS in these and in the actions above, and in nothing else.
    response_streaming: bool = True
    trust_local_operator: bool = False
    native_platform: bool = False
    bootstrap_roles: bool = True
    # What policies may tell requests by: s3:if-none-match, cloudwatch:namespace, events:source, the
    # workgroup of a running Athena query. MiniStack knows none of these.
    request_details: bool = True
    # Templates have an archive of the bus. MiniStack makes one by its API alone, which the local
    # cloud does, and asks for rights on replays without naming one.
    event_archive: bool = True
    # Where functions find the APIs of other services instead of at AWS's addresses.
    endpoint: str | None = None
    # Where clients find the WebSocket instead of at AWS's address: at the front door.
    websocket_url: str | None = None

    @property
    def prefix(self) -> str:
        """First part of every resource name."""
        return f"santaclaude-{self.environment}"

    def parameter(self, *path: str) -> str:
        """Name of an SSM parameter, the only way in which stacks know of each other."""
        return "/".join(("", "santaclaude", self.environment, *path))

    @property
    def alarm_topic(self) -> str:
        """Name of the topic that alarms of every stack go to."""
        return f"{self.prefix}-alarms"

    @property
    def has_browser(self) -> bool:
        """Whether there is one to deploy the pool with."""
        return bool(self.browser_image or self.chromium_path)

    @property
    def event_bus(self) -> str:
        """Name of the bus that carries the services' events."""
        return self.prefix


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
        request_details=False,
        session_days=30,
        # Each is a process of its own.
        high_jobs_at_once=3,
        normal_jobs_at_once=2,
        audit_archive_interval_seconds=0,
        consumers_at_once=2,
        event_archive=False,
        webhooks_on_loopback=True,
        webhook_workers_at_once=2,
        # MiniStack asks for actions of these names, which AWS does not have.
        model_actions=("bedrock:ConverseStream",),
        batch_send_action="sqs:SendMessageBatch",
    ),
    "dev": DeploySettings(environment="dev", session_days=30),
    "staging": DeploySettings(
        environment="staging", log_retention=RetentionDays.ONE_MONTH, session_days=90
    ),
    "prod": DeploySettings(
        environment="prod",
        retain_data=True,
        log_retention=RetentionDays.ONE_YEAR,
        throttling_rate=1_000,
        throttling_burst=2_000,
        high_jobs_at_once=100,
        normal_jobs_at_once=50,
        audit_lock_mode="compliance",
        audit_lock_days=365,
    ),
}


def _names(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


_URLS = ("openai_url", "anthropic_url", "gemini_url", "openai_compatible_url")


def _url(name: str, environment: str, given: str | None) -> str | None:
    """Keys go there: in the clear only where nobody else can listen, or there is no key."""
    plain = environment == "local" or name == "openai_compatible_url"
    if given and not given.startswith(("https://", "http://") if plain else "https://"):
        raise InvalidSettingError(f"-c {name}={given}: it begins with https://")
    return given or None


def _routing(value: Any) -> str | None:
    """A policy from the command line, as text, or from cdk.json; None if there is none."""
    if not value:
        return None
    try:
        if isinstance(value, str):
            return RoutingSet.model_validate_json(value).model_dump_json()
        return RoutingSet.model_validate(value).model_dump_json()
    except ValidationError as error:
        found = "; ".join(f"{_place(e['loc'])}{e['msg']}" for e in error.errors())
        raise InvalidSettingError(f"-c routing=...: {found}") from None


def _flag(name: str, value: Any) -> bool:
    """From cdk.json a boolean, from the command line its text."""
    found = {None: False, "": False, "true": True, "false": False}.get(
        str(value).lower() if value is not None else None
    )
    if found is None:
        raise InvalidSettingError(f"-c {name}={value}: it is true or false")
    return found


def _local_browser(environment: str, context: Callable[[str], Any]) -> dict[str, Any]:
    """The machine's own browser, and the sites of this machine that it may reach."""
    found: dict[str, Any] = {
        "chromium_path": context("chromium_path") or "",
        "chromium_sandbox": _flag("chromium_sandbox", context("chromium_sandbox")),
        "browser_loopback_sites": _names(context("browser_loopback_sites") or ""),
    }
    given = next((name for name, value in found.items() if value), None)
    if given and environment != "local":
        raise InvalidSettingError(f"-c {given}: env={environment} is on AWS")
    return found


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) + ": " if location else ""


def load(context: Callable[[str], Any]) -> DeploySettings:
    """Settings for the CDK context: `-c env=dev [-c operators=RoleA,RoleB] [-c default_model=...]
    [-c additional_models=...] [-c openai_url=...] [-c anthropic_url=...] [-c gemini_url=...]
    [-c openai_compatible_url=...] [-c routing=JSON] [-c snap_start=true]
    [-c browser_image=REPOSITORY@DIGEST|build] [-c browser_sites=host:port,...]
    [-c browser_strict=true]
    [-c endpoint=http://127.0.0.1:4566] [-c websocket_url=ws://127.0.0.1:8004/ws]
    [-c chromium_path=...] [-c chromium_sandbox=true] [-c browser_loopback_sites=127.0.0.1:9000]`;
    the last two lines are the local cloud's.

    Raises InvalidSettingError for an environment that does not exist, for a policy or a flag that
    is none, and for an endpoint or a WebSocket's address outside the local one.
    """
    environment = context("env") or "dev"
    if environment not in _ENVIRONMENTS:
        known = ", ".join(_ENVIRONMENTS)
        raise InvalidSettingError(f"-c env={environment}: choose one of {known}")
    settings = _ENVIRONMENTS[environment]
    urls: dict[str, Any] = {
        name: url for name in _URLS if (url := _url(name, environment, context(name)))
    }
    addresses: dict[str, Any] = {
        name: context(name) or None for name in ("endpoint", "websocket_url")
    }
    for name, address in addresses.items():
        if address and environment != "local":
            raise InvalidSettingError(f"-c {name}={address}: env={environment} is on AWS")
    operators = settings.operator_role_names + _names(context("operators") or "")
    return replace(
        settings,
        operator_role_names=operators,
        default_model=context("default_model") or settings.default_model,
        additional_models=_names(context("additional_models") or ""),
        routing=_routing(context("routing")) or settings.routing,
        snap_start=_flag("snap_start", context("snap_start")),
        browser_image=context("browser_image") or "",
        browser_sites=_names(context("browser_sites") or ""),
        browser_strict=_flag("browser_strict", context("browser_strict")),
        **_local_browser(environment, context),
        **addresses,
        **urls,
    )
