"""What the routes are given: the domain's services, made by `bootstrap`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from functions.ai.domain.budget_service import BudgetService
from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.chat import ChatService
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
    store: SessionStore
    clock: Clock
    usage: UsageService
    budgets: BudgetService
    routing: RoutingService


@dataclass(frozen=True, slots=True)
class Stream:
    """What the streamed routes need."""

    chat: ChatService
    turns: TurnService
    close: Callable[[], Awaitable[None]]
