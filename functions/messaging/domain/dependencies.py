"""What the routes and triggers are given: the domain's services, made by `bootstrap`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from functions.messaging.domain.event_life import EventReader
from functions.messaging.domain.publishing import Publishing

Check = Callable[[], Awaitable[object]]
"""Raises when a dependency does not answer."""


@dataclass(frozen=True, slots=True)
class Publish:
    """What the calls need that are made all the time."""

    events: Publishing


@dataclass(frozen=True, slots=True)
class Control:
    """What the calls that read and administrate need; `checks` by the dependency's name."""

    service_name: str
    checks: Mapping[str, Check]
    events: EventReader
