"""Subscriptions that the service disables by itself, and that this is told."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta

from functions.messaging.domain.subscriptions import Disabled, Reason, Subscription
from functions.messaging.domain.webhook_audit import Action, SubscriptionAudit
from functions.messaging.domain.webhook_errors import AnnouncementFailedError
from functions.messaging.domain.webhook_ports import Announcer, Health, SubscriptionStore
from servicekit.clock import Clock

_TRIES = 3
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """An endpoint only fails when no attempt succeeded for that long, and so many were given up."""

    failing: timedelta
    dead: int


class Telling:
    """Tells of subscriptions that the service disabled."""

    def __init__(self, store: SubscriptionStore, announcer: Announcer) -> None:
        self._store = store
        self._announcer = announcer

    async def announce(self, subscription: Subscription) -> None:
        """Tells that it was disabled, and keeps that it is told."""
        if subscription.disabled is None or subscription.announced:
            return
        try:
            await self._announcer.announce(subscription, subscription.disabled)
        except AnnouncementFailedError:
            _logger.warning(
                "announcement left to the sweep",
                extra={"subscription_id": subscription.subscription_id},
            )
            return
        await self._store.mark_announced(subscription)


class Disabler:
    """Disables subscriptions. The announcement is stored with the change and told then: what a
    crash leaves untold, the sweep tells.
    """

    def __init__(
        self,
        store: SubscriptionStore,
        audit: SubscriptionAudit,
        telling: Telling,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._store = store
        self._audit = audit
        self._telling = telling
        self._limits = limits
        self._clock = clock

    async def judge(self, subscription: Subscription, health: Health) -> None:
        """Disables the subscription if its endpoint only fails."""
        since = health.failing_since
        if (
            since is not None
            and self._clock() - since >= self._limits.failing
            and health.dead >= self._limits.dead
        ):
            await self.disable(subscription, "failing")

    async def disable(self, subscription: Subscription, reason: Reason) -> None:
        """Disables it, unless it is disabled, gone, or posts to somewhere else meanwhile.

        Raises `AuditUnavailableError` and `StoreUnavailableError`: then it is as it was.
        """
        for _ in range(_TRIES):
            present = await self._store.get(subscription.subscription_id)
            if present is None or not present.enabled or present.url != subscription.url:
                return
            # Enabled again: what went wrong before does not count any more.
            if present.since != subscription.since:
                return
            now = self._clock()
            disabled = replace(
                present,
                disabled=Disabled(reason, now),
                announced=False,
                version=present.version + 1,
                updated_at=now,
            )
            await self._audit.allow(Action.DISABLE, present.subscription_id, {"cause": reason})
            if await self._store.replace(disabled):
                _logger.warning(
                    "subscription disabled",
                    extra={"subscription_id": present.subscription_id, "reason": reason},
                )
                await self._telling.announce(disabled)
                return
