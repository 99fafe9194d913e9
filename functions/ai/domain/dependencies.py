"""What the routes are given: the domain's services, made by `bootstrap`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.chat import ChatService
from functions.ai.domain.ports import SessionStore
from functions.ai.domain.sessions import SessionService


@dataclass(frozen=True, slots=True)
class Api:
    """What the buffered routes need."""

    service_name: str
    catalogue: Catalogue
    sessions: SessionService
    store: SessionStore


@dataclass(frozen=True, slots=True)
class Stream:
    """What the streamed routes need."""

    chat: ChatService
    close: Callable[[], Awaitable[None]]
