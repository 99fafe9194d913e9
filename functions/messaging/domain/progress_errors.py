"""What live progress refuses."""

from __future__ import annotations

from servicekit.errors import AppError


class ProgressConflictError(AppError):
    """The event id was used on this topic with another message."""

    code = "progress_conflict"
    status = 409
    title = "The event id was used with another message"


class TicketRefusedError(AppError):
    """No ticket, or none that is good: which of these is nobody's business."""

    code = "ticket_refused"
    status = 401
    title = "The ticket is not valid"


class TooManyConnectionsError(AppError):
    """The person has as many connections as a person may have."""

    code = "too_many_connections"
    status = 429
    title = "There are too many connections of this user"
