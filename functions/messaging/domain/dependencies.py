"""What the routes and triggers are given: the domain's services, made by `bootstrap`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from functions.messaging.domain.subscription_service import SubscriptionService
from functions.messaging.domain.webhook_order import OrderedWorker
from functions.messaging.domain.webhook_ports import MessageHolder
from functions.messaging.domain.webhook_worker import DeliveryWorker

Check = Callable[[], Awaitable[object]]
"""Raises when a dependency does not answer."""


@dataclass(frozen=True, slots=True)
class Publish:
    """What the calls need that are made all the time."""


@dataclass(frozen=True, slots=True)
class Control:
    """What the calls that read and administrate need; `checks` by the dependency's name."""

    service_name: str
    checks: Mapping[str, Check]
    subscriptions: SubscriptionService


@dataclass(frozen=True, slots=True)
class Deliver:
    """What messages of the webhook deliveries' queues need; `holder` is of a message's receipt."""

    worker: DeliveryWorker
    ordered: OrderedWorker
    holder: Callable[[str], MessageHolder]
