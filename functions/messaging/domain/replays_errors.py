"""Why a replay is refused."""

from __future__ import annotations

from servicekit.errors import AppError


class ReplayNotFoundError(AppError):
    """No replay has the id."""

    code = "replay_not_found"
    status = 404
    title = "No such replay"


class ReplayEndedError(AppError):
    """Nothing is left to cancel."""

    code = "replay_ended"
    status = 409
    title = "The replay has ended"


class ReplayRangeError(AppError):
    """The archive has nothing of that time."""

    code = "replay_range"
    status = 422
    title = "The time is not one that the archive can bring back"


class ArchiveUnavailableError(AppError):
    """The archive does not answer, or there are too many replays at once."""

    code = "archive_unavailable"
    status = 503
    title = "The archive does not take a replay now"
