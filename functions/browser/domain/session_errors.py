"""What is refused to callers of sessions."""

from __future__ import annotations

from servicekit.errors import AppError


class SessionNotFoundError(AppError):
    """There is no such session, it ended, or it is somebody else's."""

    code = "session_not_found"
    status = 404
    title = "There is no such browser session"


class SessionLimitError(AppError):
    """As many sessions are open as may be; `reason` among the extensions says whose limit it is."""

    code = "session_limit"
    status = 429
    title = "Too many browser sessions are open"


class SessionBusyError(AppError):
    """Another command of this session is in flight."""

    code = "session_busy"
    status = 409
    title = "The session works on another command"


class NotLiveError(AppError):
    """The command asked for the live browser, which is gone; nothing was done."""

    code = "session_not_live"
    status = 409
    title = "The session's browser is no longer live"


class WorkerUnavailableError(AppError):
    """The browser function did not take the command: nothing was done."""

    code = "browser_unavailable"
    status = 503
    title = "No browser is available"


class OutcomeUnknownError(AppError):
    """The browser function took the command and did not answer: it may have done any part of it."""

    code = "outcome_unknown"
    status = 504
    title = "The browser did not answer in time"
