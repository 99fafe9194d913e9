"""The errors of subscriptions and of their deliveries."""

from __future__ import annotations

from servicekit.errors import AppError


class SubscriptionNotFoundError(AppError):
    """There is none of that id."""

    code = "subscription_not_found"
    status = 404
    title = "The subscription does not exist"


class SubscriptionChangedError(AppError):
    """It is not any more as the caller read it."""

    code = "subscription_changed"
    status = 409
    title = "The subscription was changed meanwhile"


class TooManySubscriptionsError(AppError):
    """The environment has as many as it may."""

    code = "too_many_subscriptions"
    status = 409
    title = "There are as many subscriptions as there may be"


class AnnouncementFailedError(Exception):
    """The event about a disabled subscription could not be published yet."""


class RefusedUrlError(Exception):
    """Nothing is posted there; `reason` says why in our own words, without quoting the URL."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
