"""The event `webhook.subscription.disabled`: always the same one for one disabling."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from functions.messaging.domain.publishing import NewEvent, Publishing
from functions.messaging.domain.subscriptions import Disabled, Subscription
from functions.messaging.domain.webhook_errors import AnnouncementFailedError
from servicekit.clock import to_text
from servicekit.errors import AppError

DISABLED_TYPE = "webhook.subscription.disabled"

_IDS = uuid5(NAMESPACE_URL, "santaclaude:messaging:subscription-disabled")


@dataclass(frozen=True, slots=True)
class Announcement:
    """An event to publish. Its id and its payload follow from the subscription as it is stored."""

    event_id: str
    event_type: str
    payload: Mapping[str, Any]


Publish = Callable[[Announcement], Awaitable[object]]
"""Accepts an event; under an id that it has accepted already it does nothing. Raises `AppError`."""


def publishing_as(source: str, publishing: Publishing) -> Publish:
    """`Publish` by the service's own publishing, under that source."""

    async def publish(announcement: Announcement) -> object:
        return await publishing.publish_one(
            NewEvent(
                event_id=announcement.event_id,
                event_type=announcement.event_type,
                payload=announcement.payload,
                source=source,
                # All of it follows from the id.
                fingerprint=announcement.event_id,
            )
        )

    return publish


class Announcements:
    """`webhook_ports.Announcer`."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish

    async def announce(self, subscription: Subscription, disabled: Disabled) -> None:
        """See `Announcer`."""
        name = f"{subscription.subscription_id}:{subscription.version}"
        payload = {
            "subscription_id": subscription.subscription_id,
            "reason": disabled.reason,
            "disabled_at": to_text(disabled.at),
        }
        try:
            await self._publish(Announcement(str(uuid5(_IDS, name)), DISABLED_TYPE, payload))
        except AppError as error:
            raise AnnouncementFailedError from error
