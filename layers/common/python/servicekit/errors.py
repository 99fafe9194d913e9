"""The errors a service answers with, and their RFC 9457 form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

PROBLEM_MEDIA_TYPE = "application/problem+json"


class AppError(Exception):
    """An error that a caller may see: `code` for programs, `title` and `detail` for people.

    `detail` is our own text; text of a third party's error never goes into it. `errors` lists
    fields as {"field", "message"}. `retry_after` is in seconds. `extensions` are members of the
    problem beside those that every problem has.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.errors = tuple(errors)
        self.extensions = dict(extensions or {})
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)

    def to_problem(self, request_id: str | None) -> dict[str, Any]:
        """The body of the `application/problem+json` answer."""
        problem: dict[str, Any] = {
            **self.extensions,
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "code": self.code,
        }
        if self.detail is not None:
            problem["detail"] = self.detail
        if request_id is not None:
            problem["request_id"] = request_id
        if self.errors:
            problem["errors"] = [dict(error) for error in self.errors]
        return problem


class InternalError(AppError):
    """Whatever was not foreseen: the request id and nothing else."""


class MalformedRequestError(AppError):
    """The body is no JSON."""

    code = "malformed_json"
    status = 400
    title = "The body is not valid JSON"


class InvalidRequestError(AppError):
    """The body or the query breaks the contract; `errors` lists each field."""

    code = "invalid_request"
    status = 422
    title = "The request does not meet the contract"


class BadRequestError(AppError):
    """The framework refused the request before it reached a route."""

    code = "bad_request"
    status = 400
    title = "Bad request"


class NotFoundError(AppError):
    """No such route."""

    code = "not_found"
    status = 404
    title = "Not found"


class MethodNotAllowedError(AppError):
    """The route exists, its method does not."""

    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"


class BodyTooLargeError(AppError):
    """The request body exceeds the service's limit."""

    code = "body_too_large"
    status = 413
    title = "The request body is too large"


class ContentTooLargeError(AppError):
    """A field exceeds its limit in bytes."""

    code = "content_too_large"
    status = 413
    title = "Content is too large"


class UnsupportedMediaTypeError(AppError):
    """The body does not say that it is JSON."""

    code = "unsupported_media_type"
    status = 415
    title = "The content type must be application/json"


class UnauthenticatedError(AppError):
    """API Gateway's identity is missing."""

    code = "unauthenticated"
    status = 401
    title = "The caller is not authenticated"


class StoreUnavailableError(AppError):
    """The data store refuses or does not answer."""

    code = "store_unavailable"
    status = 503
    title = "The data store is not available"
