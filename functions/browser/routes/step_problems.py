"""Problems of the calls whose one step was not done; `step_error` is its code."""

from __future__ import annotations

from contracts.browser.steps import ErrorCode, StepResult
from servicekit.errors import AppError


class StepRefusedError(AppError):
    """The page has not what the step asks for."""

    code = "step_failed"
    status = 422
    title = "The page does not do it"


class PageNotFoundError(AppError):
    """The session has no such page."""

    code = "page_not_found"
    status = 404
    title = "There is no such page"


class AddressDeniedError(AppError):
    """The egress wall refuses the address."""

    code = "address_denied"
    status = 403
    title = "This address is not to be reached"


class SiteFailedError(AppError):
    """The site does not answer, or the browser ended."""

    code = "site_failed"
    status = 502
    title = "The site or the browser failed"


class SiteLateError(AppError):
    """It was not done in time."""

    code = "site_late"
    status = 504
    title = "It was not done in time"


_PROBLEMS: dict[ErrorCode, type[AppError]] = {
    "browser_crashed": SiteFailedError,
    "denied_address": AddressDeniedError,
    "navigation_failed": SiteFailedError,
    "navigation_timeout": SiteLateError,
    "no_such_page": PageNotFoundError,
    "out_of_time": SiteLateError,
    "page_crashed": SiteFailedError,
    "wait_timeout": SiteLateError,
}


def problem_of(result: StepResult) -> AppError:
    """Of a step that was not done."""
    error = result.error
    if error is None:
        return StepRefusedError(extensions={"outcome": result.outcome})
    kind = _PROBLEMS.get(error.code, StepRefusedError)
    return kind(error.message, extensions={"outcome": result.outcome, "step_error": error.code})
