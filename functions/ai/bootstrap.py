"""The composition root: settings to dependencies. Nothing else knows ports and adapters both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING

from contracts.ai.v1 import MAX_SESSION_ANSWER_BYTES, MAX_SESSION_MESSAGES
from functions.ai.adapters.dynamodb import DynamoSessions
from functions.ai.adapters.dynamodb_breaker import DynamoCircuits
from functions.ai.adapters.dynamodb_budgets import DynamoBudgets
from functions.ai.adapters.dynamodb_routing import DynamoPolicies
from functions.ai.adapters.dynamodb_summaries import DynamoSummaries
from functions.ai.adapters.dynamodb_turns import DynamoTurns
from functions.ai.adapters.dynamodb_upkeep import DynamoUpkeep
from functions.ai.adapters.dynamodb_usage import DynamoUsage
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.providers import (
    Addresses,
    model_providers,
    provider_names,
    provider_states,
)
from functions.ai.adapters.s3_content import S3Content
from functions.ai.adapters.sqs_jobs import SqsJobs
from functions.ai.adapters.turn_items import Retention
from functions.ai.domain.asking import Asker
from functions.ai.domain.audit import Operations
from functions.ai.domain.billing import Billing
from functions.ai.domain.budget_guard import BudgetGuard
from functions.ai.domain.budget_service import BudgetService
from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.chat import ChatService
from functions.ai.domain.circuits import Circuits
from functions.ai.domain.dependencies import Api, Dispatch, Stream, Worker
from functions.ai.domain.export import UserExport
from functions.ai.domain.image_keeper import ImageKeeper
from functions.ai.domain.job_ports import Deliveries, JobProgress, JobQueues
from functions.ai.domain.job_worker import JobWorker
from functions.ai.domain.jobs import JobService
from functions.ai.domain.lifetime import Lifetime
from functions.ai.domain.lost_attempts import LostAttempts
from functions.ai.domain.money_ports import BudgetStore, UsageStore
from functions.ai.domain.policies import Policies
from functions.ai.domain.ports import (
    ContentStore,
    ModelProvider,
    ProviderStates,
    SessionStore,
    TurnStore,
)
from functions.ai.domain.recollection import Recollection
from functions.ai.domain.router import Router
from functions.ai.domain.routing import Policy, check
from functions.ai.domain.routing_ports import CircuitStore, PolicyStore
from functions.ai.domain.routing_service import RoutingService
from functions.ai.domain.runner import TurnRunner
from functions.ai.domain.sessions import AnswerLimits, Numbers, SessionService
from functions.ai.domain.summariser import Summariser
from functions.ai.domain.summary_ports import SummaryStore
from functions.ai.domain.turn_service import TurnService
from functions.ai.domain.turn_starter import Stores, TurnStarter
from functions.ai.domain.turns import Priority
from functions.ai.domain.upkeep_ports import UpkeepStore
from functions.ai.domain.usage_service import UsageService
from functions.ai.settings import (
    ApiSettings,
    AuditSettings,
    DispatchSettings,
    QueueSettings,
    StorageSettings,
    StreamSettings,
    UpkeepSettings,
    WorkerSettings,
)
from servicekit.audit import AuditTrail, Outbox
from servicekit.audit_outbox import DynamoOutbox, DynamoOutboxReader
from servicekit.audit_sender import AuditSender
from servicekit.clock import Clock, utc_now
from servicekit.dynamodb import DynamoCounter, DynamoRecords, DynamoTable
from servicekit.idempotency import Idempotency, RecordStore
from servicekit.ids import Counter, IntegerIds
from servicekit.logging import configure_logging
from servicekit.metrics import CloudWatchMetrics
from servicekit.parameters import Parameter

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from functions.ai.domain.upkeep import Upkeep

FIRST_IDS_ABOVE = 1_000_000
"""Integer ids of sessions and messages start above it: below lies what older tables hold."""


EVENT_RETENTION_SECONDS = 24 * 3600
"""How long a turn's events can be followed from any place."""

WORKER_PROGRESS_SECONDS = 2.0
"""How long telling of a job may take beside the work on it."""

DISPATCH_PROGRESS_SECONDS = 1.0
"""How long telling of new jobs may hold up the ones behind them."""

PRODUCER = "ai"
"""First part of the producers' names in this service's audit records."""


# The system's: functions that start from one snapshot would draw the same numbers.
_random = SystemRandom().random

_DAY_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Storage:
    """The ports that a database and a bucket serve."""

    sessions: SessionStore
    turns: TurnStore
    summaries: SummaryStore
    records: RecordStore
    counter: Counter
    outbox: Outbox
    usage: UsageStore
    budgets: BudgetStore
    policies: PolicyStore
    circuits: CircuitStore
    content: ContentStore
    upkeep: UpkeepStore
    close: Callable[[], None]


def api_from_environment() -> Api:
    """The buffered function's dependencies. Raises `SettingsError`."""
    settings = ApiSettings.from_environment()
    configure_logging(settings.powertools_service_name, settings.powertools_log_level)
    states = provider_states(settings.environment, compatible=bool(settings.openai_compatible_url))
    return build_api(settings, dynamodb_storage(settings), states)


def stream_from_environment() -> Stream:
    """The streaming function's dependencies. Raises `SettingsError`."""
    settings = StreamSettings.from_environment()
    configure_logging(settings.powertools_service_name, settings.powertools_log_level)
    return build_stream(settings, dynamodb_storage(settings), _providers(settings))


def worker_from_environment() -> Worker:
    """The dependencies of the function that runs jobs. Raises `SettingsError`."""
    settings = WorkerSettings.from_environment()
    configure_logging(settings.powertools_service_name, settings.powertools_log_level)
    storage = dynamodb_storage(settings)
    progress = _progress(settings, WORKER_PROGRESS_SECONDS)
    return build_worker(settings, storage, _providers(settings), sqs_jobs(settings), progress)


def dispatch_from_environment() -> Dispatch:
    """The dependencies of the function that brings jobs to their queues. Raises `SettingsError`."""
    # With an HTTP client and the contracts of events: the other functions do without.
    from functions.ai.adapters.job_changes import changes_from  # noqa: PLC0415
    from functions.ai.adapters.message_service import MessageServiceJobEvents  # noqa: PLC0415
    from functions.ai.domain.job_dispatcher import JobDispatcher  # noqa: PLC0415

    settings = DispatchSettings.from_environment()
    configure_logging(settings.powertools_service_name, settings.powertools_log_level)
    events = MessageServiceJobEvents(Parameter(settings.messaging_url_parameter))
    progress = _progress(settings, DISPATCH_PROGRESS_SECONDS)
    return Dispatch(changes_from, JobDispatcher(sqs_jobs(settings), events, progress))


def audit_from_environment() -> AuditSender:
    """The dependencies of the function that sends audit records. Raises `SettingsError`."""
    # With an HTTP client and another service's contract: the other functions do without both.
    from contracts.audit.sink import AuditSink  # noqa: PLC0415

    settings = AuditSettings.from_environment()
    configure_logging(settings.powertools_service_name, settings.powertools_log_level)
    return AuditSender(
        DynamoOutboxReader(DynamoTable(settings.table_name), PRODUCER),
        AuditSink(Parameter(settings.audit_url_parameter)),
        CloudWatchMetrics(f"Santaclaude/{settings.environment}/{PRODUCER}"),
    )


def upkeep_from_environment() -> Upkeep:
    """The dependencies of the function that runs on a schedule. Raises `SettingsError`."""
    settings = UpkeepSettings.from_environment()
    configure_logging(settings.powertools_service_name, settings.powertools_log_level)
    return build_upkeep(settings, dynamodb_storage(settings), sqs_jobs(settings))


def build_upkeep(
    settings: UpkeepSettings, storage: Storage, queues: JobQueues, clock: Clock = utc_now
) -> Upkeep:
    """What the schedule runs, over any storage and queues."""
    # The other functions do without.
    from functions.ai.domain.job_sweep import JobSweep  # noqa: PLC0415
    from functions.ai.domain.session_sweep import SessionSweep  # noqa: PLC0415
    from functions.ai.domain.upkeep import Upkeep  # noqa: PLC0415

    sessions = SessionSweep(
        storage.upkeep, storage.sessions, storage.content, _lifetime(settings), clock
    )
    return Upkeep(JobSweep(storage.upkeep, storage.turns, queues, clock), sessions)


def build_api(
    settings: ApiSettings, storage: Storage, providers: ProviderStates, clock: Clock = utc_now
) -> Api:
    """The buffered function's dependencies over any storage."""
    callable_ones = provider_names(compatible=bool(settings.openai_compatible_url))
    parts = _Parts.of(settings, storage, callable_ones, clock)
    operations = _operations(storage, clock)
    jobs = JobService(
        parts.starter,
        storage.turns,
        parts.turns,
        _idempotency(settings, storage, clock),
        operations,
    )
    return Api(
        service_name=settings.powertools_service_name,
        catalogue=parts.catalogue,
        providers=providers,
        sessions=parts.sessions,
        turns=parts.turns,
        jobs=jobs,
        store=storage.sessions,
        clock=clock,
        usage=UsageService(storage.usage, operations),
        budgets=BudgetService(storage.budgets, storage.usage, clock, operations),
        routing=RoutingService(
            storage.policies, _policy(settings, parts.catalogue), parts.catalogue, clock, operations
        ),
        content_bucket=storage.content.bucket,
    )


def build_stream(
    settings: StreamSettings,
    storage: Storage,
    providers: Mapping[str, ModelProvider],
    clock: Clock = utc_now,
) -> Stream:
    """The streaming function's dependencies over any storage and providers (by name)."""
    parts = _Parts.of(settings, storage, providers, clock)
    chat = ChatService(
        parts.starter,
        parts.turns,
        _Asking.of(parts, storage, providers, clock).runner,
        _idempotency(settings, storage, clock),
    )

    async def close() -> None:
        for provider in providers.values():
            await provider.aclose()
        storage.close()

    export = UserExport(
        storage.sessions, storage.summaries, storage.usage, _operations(storage, clock)
    )
    return Stream(chat, parts.turns, export, storage.content.bucket, close)


def build_worker(
    settings: WorkerSettings,
    storage: Storage,
    providers: Mapping[str, ModelProvider],
    deliveries: Deliveries,
    progress: JobProgress,
    clock: Clock = utc_now,
) -> Worker:
    """The worker's dependencies over any storage, providers (by name), queues and watchers."""
    parts = _Parts.of(settings, storage, providers, clock)
    asking = _Asking.of(parts, storage, providers, clock)
    summariser = Summariser(
        storage.summaries,
        storage.sessions,
        parts.policies,
        parts.catalogue,
        asking.asker,
        parts.billing,
        clock,
    )
    return Worker(
        JobWorker(
            storage.turns,
            parts.starter,
            parts.turns,
            asking.runner,
            summariser,
            deliveries,
            progress,
            clock,
            settings.max_receives,
        )
    )


def dynamodb_storage(
    settings: StorageSettings,
    make: Callable[[], DynamoDBClient] | None = None,
    make_s3: Callable[[], S3Client] | None = None,
    clock: Clock = utc_now,
) -> Storage:
    """The service's table and its bucket; `make` and `make_s3` make their clients."""
    table = DynamoTable(settings.table_name, make)
    content = S3Content(settings.content_bucket, make_s3)

    def close() -> None:
        table.close()
        content.close()

    retention = Retention(settings.turn_retention_days * _DAY_SECONDS, EVENT_RETENTION_SECONDS)
    return Storage(
        sessions=DynamoSessions(table, _lifetime(settings), clock),
        turns=DynamoTurns(table, retention),
        summaries=DynamoSummaries(table),
        records=DynamoRecords(table),
        counter=DynamoCounter(table, FIRST_IDS_ABOVE),
        outbox=DynamoOutbox(table, PRODUCER),
        usage=DynamoUsage(table),
        budgets=DynamoBudgets(table),
        policies=DynamoPolicies(table),
        circuits=DynamoCircuits(table),
        content=content,
        upkeep=DynamoUpkeep(table),
        close=close,
    )


def _lifetime(settings: StorageSettings) -> Lifetime:
    return Lifetime(settings.session_days or None)


def _providers(settings: StreamSettings) -> Mapping[str, ModelProvider]:
    return model_providers(
        settings.environment,
        Addresses(
            openai=settings.openai_url,
            anthropic=settings.anthropic_url,
            gemini=settings.gemini_url,
            compatible=settings.openai_compatible_url,
        ),
        Patience(settings.model_first_byte_timeout_seconds, settings.model_idle_timeout_seconds),
        preload=settings.preload_sdks,
    )


def _progress(settings: WorkerSettings | DispatchSettings, seconds: float) -> JobProgress:
    """The message service, called for so long."""
    # With an HTTP client and another service's contract: the other functions do without both.
    from functions.ai.adapters.progress import MessageServiceProgress  # noqa: PLC0415

    return MessageServiceProgress(Parameter(settings.messaging_url_parameter), seconds)


def sqs_jobs(settings: QueueSettings) -> SqsJobs:
    """The jobs' queues."""
    urls: dict[Priority, str] = {
        "high": settings.high_queue_url,
        "normal": settings.normal_queue_url,
    }
    return SqsJobs(urls)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What every function that works on conversations has."""

    catalogue: Catalogue
    policies: Policies
    router: Router
    sessions: SessionService
    turns: TurnService
    starter: TurnStarter
    billing: Billing

    @classmethod
    def of(
        cls, settings: ApiSettings, storage: Storage, providers: Collection[str], clock: Clock
    ) -> _Parts:
        catalogue = Catalogue(settings.default_model, settings.additional_model_names)
        sessions = _sessions(settings, storage, catalogue, clock)
        policies = Policies(storage.policies, _policy(settings, catalogue), clock)
        router = _router(storage, catalogue, providers, policies, clock)
        billing = Billing(BudgetGuard(storage.budgets, storage.usage, clock), catalogue)
        turns = TurnService(
            storage.turns,
            storage.sessions,
            sessions,
            clock,
            _operations(storage, clock),
            LostAttempts(storage.sessions, catalogue, billing),
        )
        starter = TurnStarter(
            sessions,
            Stores(storage.sessions, storage.turns, ImageKeeper(storage.content)),
            turns,
            catalogue,
            router,
            Recollection(storage.summaries, policies),
            clock,
            _operations(storage, clock),
        )
        return cls(catalogue, policies, router, sessions, turns, starter, billing)


@dataclass(frozen=True, slots=True)
class _Asking:
    """What every function that calls models has."""

    asker: Asker
    runner: TurnRunner

    @classmethod
    def of(
        cls, parts: _Parts, storage: Storage, providers: Mapping[str, ModelProvider], clock: Clock
    ) -> _Asking:
        asker = Asker(providers, parts.router, parts.billing, storage.content, clock, _random)
        runner = TurnRunner(storage.turns, parts.sessions, asker, parts.billing, clock)
        return cls(asker, runner)


def _router(
    storage: Storage,
    catalogue: Catalogue,
    providers: Collection[str],
    policies: Policies,
    clock: Clock,
) -> Router:
    """Learns as it goes, so a process has one."""
    return Router(
        catalogue,
        providers,
        policies,
        Circuits(storage.circuits, clock),
        _random,
    )


def _policy(settings: ApiSettings, catalogue: Catalogue) -> Policy:
    """The deployment's. Raises `UnknownTargetsError`."""
    policy = Policy.from_data(settings.routing.model_dump())
    check(policy, catalogue)
    return policy


def _sessions(
    settings: ApiSettings, storage: Storage, catalogue: Catalogue, clock: Clock
) -> SessionService:
    return SessionService(
        storage.sessions,
        storage.content,
        Numbers(IntegerIds(storage.counter, "session"), IntegerIds(storage.counter, "message")),
        catalogue,
        _idempotency(settings, storage, clock),
        clock,
        AnswerLimits(MAX_SESSION_MESSAGES, MAX_SESSION_ANSWER_BYTES),
        _operations(storage, clock),
    )


def _operations(storage: Storage, clock: Clock) -> Operations:
    return Operations(AuditTrail(storage.outbox, clock))


def _idempotency(settings: ApiSettings, storage: Storage, clock: Clock) -> Idempotency:
    return Idempotency(storage.records, clock, settings.idempotency_window_seconds)
