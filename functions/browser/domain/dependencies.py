"""What the routes are given: the domain's services, made by `bootstrap`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from functions.browser.domain.artifacts import Artifacts
from functions.browser.domain.dispatch import Dispatcher
from functions.browser.domain.sessions import Sessions
from functions.browser.domain.tasks import Tasks

Check = Callable[[], Awaitable[object]]
"""Raises when a dependency does not answer."""


@dataclass(frozen=True, slots=True)
class Api:
    """What the calls need; `checks` by the dependency's name."""

    service_name: str
    checks: Mapping[str, Check]
    sessions: Sessions
    dispatcher: Dispatcher
    artifacts: Artifacts
    tasks: Tasks
