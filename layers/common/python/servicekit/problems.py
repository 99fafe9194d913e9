"""Errors as answers: the mappers that Starlette and FastAPI apps register, and JSON bodies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from servicekit.context import current_context
from servicekit.errors import (
    PROBLEM_MEDIA_TYPE,
    AppError,
    BadRequestError,
    ContentTooLargeError,
    InvalidRequestError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotFoundError,
)

ExceptionHandlers = Mapping[Any, Callable[[Request, Exception], Coroutine[Any, Any, Response]]]
ModelT = TypeVar("ModelT", bound=BaseModel)

_PLACE = re.compile(r"line (\d+) column (\d+)$")
_TOO_LARGE_TYPE = "content_too_large"
_HTTP_ERRORS: Mapping[int, type[AppError]] = {404: NotFoundError, 405: MethodNotAllowedError}


class ProblemResponse(Response):
    """An `AppError` as `application/problem+json`."""

    media_type = PROBLEM_MEDIA_TYPE

    def __init__(self, error: AppError) -> None:
        context = current_context()
        problem = error.to_problem(context.request_id if context else None)
        super().__init__(json.dumps(problem), status_code=error.status, headers=error.headers)


def exception_handlers() -> ExceptionHandlers:
    """The handlers of a Starlette app; what they miss, `asgi.RequestMiddleware` answers."""
    return {AppError: _answer, ValidationError: _answer, HTTPException: _answer}


def fastapi_exception_handlers() -> ExceptionHandlers:
    """The same for a FastAPI app, whose query and path validation has an exception of its own."""
    from fastapi.exceptions import RequestValidationError  # noqa: PLC0415  (not in every bundle)

    return {**exception_handlers(), RequestValidationError: _answer}


async def read_json(request: Request, model: type[ModelT]) -> ModelT:
    """The body as `model`. Raises `MalformedRequestError` or pydantic's `ValidationError`.

    NaN, lone surrogates, numbers beyond a double and more than 200 levels are no JSON that other
    services could read back, or pydantic could write.
    """
    body = await request.body()
    try:
        content = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedRequestError(_place(str(error))) from None
    try:
        # 1e999 is read as infinity all the same.
        json.dumps(content, allow_nan=False)
    except ValueError:
        raise MalformedRequestError("A number is beyond what a double holds.") from None
    return model.model_validate(content)


def to_app_error(error: Exception) -> AppError:
    """What a framework's own error means in our terms."""
    match error:
        case AppError():
            return error
        case HTTPException():
            known = _HTTP_ERRORS.get(error.status_code, BadRequestError)
            return known(headers=error.headers)
        case ValidationError():
            return _from_fields(error.errors(include_input=False, include_url=False), "")
        case _:
            # FastAPI's RequestValidationError: its locations begin with the part of the request.
            return _from_fields(error.errors(), "part")  # type: ignore[attr-defined]


def _place(parser_text: str) -> str | None:
    """Where the parser stopped, in our own words: its text may come to quote the body."""
    found = _PLACE.search(parser_text)
    if found is None:
        return None
    line, column = found.groups()
    return f"Reading stopped at line {line}, byte {column} of that line."


def _from_fields(problems: Sequence[Mapping[str, Any]], prefix: str) -> AppError:
    errors = [
        {
            "field": ".".join(map(str, problem["loc"][1:] if prefix else problem["loc"])),
            "message": str(problem["msg"]),
        }
        for problem in problems
    ]
    if any(problem["type"] == _TOO_LARGE_TYPE for problem in problems):
        return ContentTooLargeError(errors=errors)
    return InvalidRequestError(errors=errors)


async def _answer(_request: Request, error: Exception) -> Response:
    return ProblemResponse(to_app_error(error))
