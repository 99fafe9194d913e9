"""Why the report of an attempt is refused."""

from __future__ import annotations

from servicekit.errors import AppError


class NotYourConsumerError(AppError):
    """A service reports for its own consumers alone."""

    code = "not_your_consumer"
    status = 403
    title = "The consumer is another service's"
