"""What is wrong with the service's queues of work."""

from __future__ import annotations

from servicekit.errors import AppError


class QueueUnavailableError(AppError):
    """SQS refuses or does not answer."""

    code = "queue_unavailable"
    status = 503
    title = "The queue is not available"
