"""What the routes and triggers are given: the domain's services, made by `bootstrap`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functions.ai.domain.budget_service import BudgetService
from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.chat import ChatService
from functions.ai.domain.export import UserExport
from functions.ai.domain.job_dispatcher import JobDispatcher
from functions.ai.domain.job_ports import Change
from functions.ai.domain.job_worker import JobWorker
from functions.ai.domain.jobs import JobService
from functions.ai.domain.ports import ProviderStates, SessionStore
from functions.ai.domain.routing_service import RoutingService
from functions.ai.domain.sessions import SessionService
from functions.ai.domain.turn_service import TurnService
from functions.ai.domain.usage_service import UsageService
from servicekit.clock import Clock


@dataclass(frozen=True, slots=True)
class Api:
    """What the buffered routes need."""

    service_name: str
    catalogue: Catalogue
    providers: ProviderStates
    sessions: SessionService
    turns: TurnService
    jobs: JobService
    store: SessionStore
    clock: Clock
    usage: UsageService
    budgets: BudgetService
    routing: RoutingService
    content_bucket: str


@dataclass(frozen=True, slots=True)
class Stream:
    """What the streamed routes need."""

    chat: ChatService
    turns: TurnService
    export: UserExport
    content_bucket: str
    close: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Worker:
    """What the jobs' queues need."""

    service: JobWorker


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What the table's stream needs; `read` finds among its records what is to be done."""

    read: Callable[[Sequence[Mapping[str, Any]]], Sequence[Change]]
    service: JobDispatcher
