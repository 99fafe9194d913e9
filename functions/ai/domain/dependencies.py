"""What the routes are given: the domain's services, made by `bootstrap`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.chat import ChatService
from functions.ai.domain.ports import SessionStore
from functions.ai.domain.sessions import SessionService
from functions.ai.domain.turn_service import TurnService


@dataclass(frozen=True, slots=True)
class Api:
    """What the buffered routes need."""

    service_name: str
    catalogue: Catalogue
    sessions: SessionService
    turns: TurnService
    store: SessionStore


@dataclass(frozen=True, slots=True)
class Stream:
    """What the streamed routes need."""

    chat: ChatService
    turns: TurnService
    close: Callable[[], Awaitable[None]]
