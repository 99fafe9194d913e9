"""What a call to a service can fail with."""

from __future__ import annotations

from http import HTTPStatus

from contracts.problem import Problem


class ServiceError(Exception):
    """A call failed. `service` and `operation` say which."""

    def __init__(self, service: str, operation: str, reason: str) -> None:
        super().__init__(f"{service} {operation}: {reason}")
        self.service = service
        self.operation = operation


class ServiceUnreachableError(ServiceError):
    """No connection, or it broke before the answer was complete. The call may have had effect."""


class ServiceTimeoutError(ServiceError):
    """Nothing came in the time allowed. The call may have had effect."""


class SigningError(ServiceError):
    """There are no credentials to sign with. Nothing was sent."""


class InvalidAnswerError(ServiceError):
    """The service answered, and not as its contract says."""


class StreamInterruptedError(ServiceError):
    """A stream ended before its end mark: what came so far is not the whole answer."""


class ServiceProblemError(ServiceError):
    """The service, or the gateway before it, answered with an error status.

    `request_id` finds the call in the service's logs. `retry_after` is in seconds, None where the
    service gave none.
    """

    def __init__(
        self, service: str, operation: str, problem: Problem, retry_after: int | None = None
    ) -> None:
        reason = f"{problem.status} {problem.code}: {problem.detail or problem.title}"
        super().__init__(service, operation, reason)
        self.problem = problem
        self.status = problem.status
        self.code = problem.code
        self.request_id = problem.request_id
        self.retry_after = retry_after


class RequestRefusedError(ServiceProblemError):
    """4xx: the same request will be refused again, unless `retry_after` says when it may not be."""


class NotAllowedError(RequestRefusedError):
    """401 or 403: unsigned, or signed by a role that the service does not know."""


class NotFoundError(RequestRefusedError):
    """404."""


class ConflictError(RequestRefusedError):
    """409: the session's state, many writers at once, or an idempotency key that is in use."""


class RateLimitedError(ServiceProblemError):
    """429: the same request may pass later; see `retry_after`."""


class ServiceFailedError(ServiceProblemError):
    """5xx: the service, or something it needs, failed."""


_BY_STATUS: dict[int, type[ServiceProblemError]] = {
    HTTPStatus.UNAUTHORIZED: NotAllowedError,
    HTTPStatus.FORBIDDEN: NotAllowedError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.CONFLICT: ConflictError,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimitedError,
}


def problem_error(
    service: str, operation: str, problem: Problem, retry_after: int | None
) -> ServiceProblemError:
    """The error class of the problem's status."""
    failed = problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    default = ServiceFailedError if failed else RequestRefusedError
    return _BY_STATUS.get(problem.status, default)(service, operation, problem, retry_after)
