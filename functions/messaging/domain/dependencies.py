"""What the routes and triggers are given: the domain's services, made by `bootstrap`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from functions.messaging.domain.conversation import Conversations
from functions.messaging.domain.deliveries import DeliveryService
from functions.messaging.domain.event_life import EventReader
from functions.messaging.domain.figures import StreamService
from functions.messaging.domain.progress import ProgressService
from functions.messaging.domain.publishing import Publishing
from functions.messaging.domain.push import Pusher, PushOrder
from functions.messaging.domain.redrive_worker import RedriveWorker
from functions.messaging.domain.redrives import DeadLetterService
from functions.messaging.domain.replays import ReplayService
from functions.messaging.domain.subscription_service import SubscriptionService
from functions.messaging.domain.tickets import TicketService
from functions.messaging.domain.webhook_order import OrderedWorker
from functions.messaging.domain.webhook_ports import MessageHolder
from functions.messaging.domain.webhook_worker import DeliveryWorker

Check = Callable[[], Awaitable[object]]
"""Raises when a dependency does not answer."""


@dataclass(frozen=True, slots=True)
class Publish:
    """What the calls need that are made all the time."""

    events: Publishing
    deliveries: DeliveryService
    progress: ProgressService


@dataclass(frozen=True, slots=True)
class Control:
    """What the calls that read and administrate need; `checks` by the dependency's name."""

    service_name: str
    checks: Mapping[str, Check]
    events: EventReader
    letters: DeadLetterService
    replays: ReplayService
    streams: StreamService
    tickets: TicketService
    subscriptions: SubscriptionService


@dataclass(frozen=True, slots=True)
class Tasks:
    """What is done later, from a queue."""

    redrives: RedriveWorker


@dataclass(frozen=True, slots=True)
class Socket:
    """What the WebSocket API's routes need."""

    conversations: Conversations


@dataclass(frozen=True, slots=True)
class Push:
    """What pushing to many connections needs; `read` finds the order in an invocation."""

    read: Callable[[Mapping[str, Any]], PushOrder]
    pusher: Pusher


@dataclass(frozen=True, slots=True)
class Deliver:
    """What messages of the webhook deliveries' queues need; `holder` is of a message's receipt."""

    worker: DeliveryWorker
    ordered: OrderedWorker
    holder: Callable[[str], MessageHolder]
