"""What can go wrong, as callers see it."""

from __future__ import annotations

from servicekit.errors import AppError


class EventNotFoundError(AppError):
    """No record has this id."""

    code = "event_not_found"
    status = 404
    title = "There is no such event"


class EventConflictError(AppError):
    """The event id, or the Idempotency-Key, was used for another event."""

    code = "event_id_conflict"
    status = 409
    title = "The event id was used for another event"


class NotSealedError(AppError):
    """The record is stored and not yet in the log; `Retry-After` says when it will be."""

    code = "not_sealed_yet"
    status = 409
    title = "The event is not sealed yet"


class CheckpointNotFoundError(AppError):
    """The log was never sealed at this size."""

    code = "checkpoint_not_found"
    status = 404
    title = "There is no checkpoint of this size"


class LogInconsistentError(AppError):
    """What is stored does not prove what it must: nothing is handed out, an alarm is raised."""

    code = "log_inconsistent"
    status = 500
    title = "The log does not prove this"


class InvalidRangeError(AppError):
    """The time range is empty or lies in the future."""

    code = "invalid_range"
    status = 422
    title = "The time range is not valid"


class RangeTooWideError(AppError):
    """Too much for an interactive query: an export reads it."""

    code = "range_too_wide"
    status = 422
    title = "The time range is too wide for an interactive query"


class ExportNotFoundError(AppError):
    """No export has this id, or it has expired."""

    code = "export_not_found"
    status = 404
    title = "There is no such export"


class ExportConflictError(AppError):
    """Another worker has this export in hand."""

    code = "export_conflict"
    status = 409
    title = "The export is being made already"


class SubjectNotFoundError(AppError):
    """Nothing is stored under a key of this person."""

    code = "subject_not_found"
    status = 404
    title = "There is no key of this subject"


class KeyUnavailableError(AppError):
    """KMS refuses or does not answer."""

    code = "keys_unavailable"
    status = 503
    title = "The encryption keys are not available"


class SealingError(AppError):
    """The sealer did not come to an end; what it began, its next run completes."""

    code = "sealing_failed"
    status = 503
    title = "Sealing did not complete"


class ArchiveUnavailableError(AppError):
    """The archive refuses or does not answer."""

    code = "archive_unavailable"
    status = 503
    title = "The archive is not available"


class ForkError(Exception):
    """An object of the log exists with other content: someone wrote what the sealer did not."""
