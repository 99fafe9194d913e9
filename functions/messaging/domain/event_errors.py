"""What can go wrong with events, as callers see it."""

from __future__ import annotations

from servicekit.errors import AppError


class EventNotFoundError(AppError):
    """No event has this id, or it has expired."""

    code = "event_not_found"
    status = 404
    title = "There is no such event"


class EventConflictError(AppError):
    """The event's id, or the Idempotency-Key, was used for another event."""

    code = "event_id_conflict"
    status = 409
    title = "The event id was used for another event"


class EventTooLargeError(AppError):
    """The event is more than the bus and every consumer of it can take."""

    code = "event_too_large"
    status = 413
    title = "The event is too large"
