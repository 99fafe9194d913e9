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
from functions.ai.adapters.dynamodb_turns import DynamoTurns
from functions.ai.adapters.dynamodb_usage import DynamoUsage
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.providers import Addresses, model_providers, provider_states
from functions.ai.adapters.turn_items import Retention
from functions.ai.domain.asking import Asker
from functions.ai.domain.audit import Operations
from functions.ai.domain.billing import Billing
from functions.ai.domain.budget_guard import BudgetGuard
from functions.ai.domain.budget_service import BudgetService
from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.chat import ChatService, Stores
from functions.ai.domain.circuits import Circuits
from functions.ai.domain.dependencies import Api, Stream
from functions.ai.domain.money_ports import BudgetStore, UsageStore
from functions.ai.domain.policies import Policies
from functions.ai.domain.ports import ModelProvider, ProviderStates, SessionStore, TurnStore
from functions.ai.domain.router import Router
from functions.ai.domain.routing import Policy, check
from functions.ai.domain.routing_ports import CircuitStore, PolicyStore
from functions.ai.domain.routing_service import RoutingService
from functions.ai.domain.runner import TurnRunner
from functions.ai.domain.sessions import AnswerLimits, Numbers, SessionService
from functions.ai.domain.turn_service import TurnService
from functions.ai.domain.usage_service import UsageService
from functions.ai.settings import ApiSettings, AuditSettings, StreamSettings
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

FIRST_IDS_ABOVE = 1_000_000
"""Integer ids of sessions and messages start above it: below lies what older tables hold."""


EVENT_RETENTION_SECONDS = 24 * 3600
"""How long a turn's events can be followed from any place."""
PRODUCER = "ai"
"""First part of the producers' names in this service's audit records."""


# The system's: functions that start from one snapshot would draw the same numbers.
_random = SystemRandom().random

_DAY_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Storage:
    """The ports that a database serves."""

    sessions: SessionStore
    turns: TurnStore
    records: RecordStore
    counter: Counter
    outbox: Outbox
    usage: UsageStore
    budgets: BudgetStore
    policies: PolicyStore
    circuits: CircuitStore
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


def audit_from_environment() -> AuditSender:
    """The dependencies of the function that sends audit records. Raises `SettingsError`."""
    # With an HTTP client and another service's contract: the other functions do without both.
    from functions.ai.adapters.audit_sink import AuditSink  # noqa: PLC0415

    settings = AuditSettings.from_environment()
    configure_logging(settings.powertools_service_name, settings.powertools_log_level)
    return AuditSender(
        DynamoOutboxReader(DynamoTable(settings.table_name), PRODUCER),
        AuditSink(Parameter(settings.audit_url_parameter)),
        CloudWatchMetrics(f"Santaclaude/{settings.environment}/{PRODUCER}"),
    )


def build_api(
    settings: ApiSettings, storage: Storage, providers: ProviderStates, clock: Clock = utc_now
) -> Api:
    """The buffered function's dependencies over any storage."""
    catalogue = Catalogue(settings.default_model, settings.additional_model_names)
    sessions = _sessions(settings, storage, catalogue, clock)
    operations = _operations(storage, clock)
    return Api(
        service_name=settings.powertools_service_name,
        catalogue=catalogue,
        providers=providers,
        sessions=sessions,
        turns=_turns(storage, sessions, clock),
        store=storage.sessions,
        clock=clock,
        usage=UsageService(storage.usage, operations),
        budgets=BudgetService(storage.budgets, storage.usage, clock, operations),
        routing=RoutingService(
            storage.policies, _policy(settings, catalogue), catalogue, clock, operations
        ),
    )


def build_stream(
    settings: StreamSettings,
    storage: Storage,
    providers: Mapping[str, ModelProvider],
    clock: Clock = utc_now,
) -> Stream:
    """The streaming function's dependencies over any storage and providers (by name)."""
    catalogue = Catalogue(settings.default_model, settings.additional_model_names)
    sessions = _sessions(settings, storage, catalogue, clock)
    turns = _turns(storage, sessions, clock)
    billing = Billing(BudgetGuard(storage.budgets, storage.usage, clock), catalogue)
    router = _router(settings, storage, catalogue, providers, clock)
    asker = Asker(providers, router, billing, clock, _random)
    chat = ChatService(
        sessions,
        Stores(storage.sessions, storage.turns),
        turns,
        TurnRunner(storage.turns, sessions, asker, billing, clock),
        catalogue,
        router,
        _idempotency(settings, storage, clock),
        clock,
        _operations(storage, clock),
    )

    async def close() -> None:
        for provider in providers.values():
            await provider.aclose()
        storage.close()

    return Stream(chat, turns, close)


def dynamodb_storage(
    settings: ApiSettings, make: Callable[[], DynamoDBClient] | None = None
) -> Storage:
    """The service's table; `make` makes its client."""
    table = DynamoTable(settings.table_name, make)
    retention = Retention(settings.turn_retention_days * _DAY_SECONDS, EVENT_RETENTION_SECONDS)
    return Storage(
        sessions=DynamoSessions(table),
        turns=DynamoTurns(table, retention),
        records=DynamoRecords(table),
        counter=DynamoCounter(table, FIRST_IDS_ABOVE),
        outbox=DynamoOutbox(table, PRODUCER),
        usage=DynamoUsage(table),
        budgets=DynamoBudgets(table),
        policies=DynamoPolicies(table),
        circuits=DynamoCircuits(table),
        close=table.close,
    )


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


def _router(
    settings: ApiSettings,
    storage: Storage,
    catalogue: Catalogue,
    providers: Collection[str],
    clock: Clock,
) -> Router:
    """Learns as it goes, so a process has one."""
    return Router(
        catalogue,
        providers,
        Policies(storage.policies, _policy(settings, catalogue), clock),
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
        Numbers(IntegerIds(storage.counter, "session"), IntegerIds(storage.counter, "message")),
        catalogue,
        _idempotency(settings, storage, clock),
        clock,
        AnswerLimits(MAX_SESSION_MESSAGES, MAX_SESSION_ANSWER_BYTES),
        _operations(storage, clock),
    )


def _turns(storage: Storage, sessions: SessionService, clock: Clock) -> TurnService:
    return TurnService(
        storage.turns, storage.sessions, sessions, clock, _operations(storage, clock)
    )


def _operations(storage: Storage, clock: Clock) -> Operations:
    return Operations(AuditTrail(storage.outbox, clock))


def _idempotency(settings: ApiSettings, storage: Storage, clock: Clock) -> Idempotency:
    return Idempotency(storage.records, clock, settings.idempotency_window_seconds)
