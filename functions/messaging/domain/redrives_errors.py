"""Why a redrive, or a question about dead letters, is refused."""

from __future__ import annotations

from servicekit.errors import AppError


class StreamNotFoundError(AppError):
    """No stream has the name."""

    code = "stream_not_found"
    status = 404
    title = "No such stream"


class RedriveNotFoundError(AppError):
    """No redrive has the id."""

    code = "redrive_not_found"
    status = 404
    title = "No such redrive"


class RedriveEndedError(AppError):
    """Nothing is left to cancel."""

    code = "redrive_ended"
    status = 409
    title = "The redrive has ended"


class NoConsumerError(AppError):
    """Nothing takes the letter any more."""

    code = "no_consumer"
    status = 409
    title = "Nothing takes the event any more"
