"""Webhook subscriptions: who gets which events, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from contracts.messaging.envelope import Envelope
from functions.messaging.domain.dead_letters import SUBSCRIPTION_PREFIX
from functions.messaging.domain.event_filters import filter_holds, type_matches

Reason = Literal["by_caller", "gone", "failing"]
"""Why a subscription is disabled; all but the first are the service's own doing."""


@dataclass(frozen=True, slots=True)
class Disabled:
    """Since when, and why, nothing is delivered."""

    reason: Reason
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """A subscription without its secrets, which only those read who sign.

    `since` is when it was made or last enabled: events accepted before are not for it. `announced`
    is False while the event about its disabling has yet to be published.
    """

    subscription_id: str
    url: str
    types: Sequence[str]
    filter: Mapping[str, Any] | None
    description: str
    ordered: bool
    max_concurrency: int
    version: int
    since: datetime
    created_at: datetime
    updated_at: datetime
    disabled: Disabled | None = None
    announced: bool = True

    @property
    def enabled(self) -> bool:
        """Whether events are delivered."""
        return self.disabled is None

    @property
    def consumer(self) -> str:
        """Its name among the consumers."""
        return consumer_of(self.subscription_id)

    def wants_type(self, event_type: str) -> bool:
        """Whether it may want events of the type."""
        return any(type_matches(pattern, event_type) for pattern in self.types)

    def wants(self, envelope: Envelope) -> bool:
        """Whether it wants the event, whenever that was accepted."""
        return self.wants_type(envelope.type) and filter_holds(self.filter, envelope)

    def in_order(self, envelope: Envelope, replay_id: str | None) -> bool:
        """Whether the event is delivered in the order of its key: a replay has none."""
        return self.ordered and envelope.orderingkey is not None and replay_id is None


@dataclass(frozen=True, slots=True)
class SubscriptionPage:
    """Subscriptions, oldest first."""

    subscriptions: Sequence[Subscription]
    next_cursor: str | None


def consumer_of(subscription_id: str) -> str:
    """A subscription's name among the consumers."""
    return f"{SUBSCRIPTION_PREFIX}{subscription_id}"
