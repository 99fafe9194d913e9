"""What the FastAPI apps of all services have in common."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.middleware import Middleware

from servicekit.asgi import RequestMiddleware
from servicekit.idempotency import InvalidIdempotencyKeyError, check_key
from servicekit.identity import buffered_context, require_caller
from servicekit.problems import fastapi_exception_handlers

READY_DEADLINE_SECONDS = 5.0
"""Of each check: longer than a function takes to start that a check calls."""

Check = Callable[[], Awaitable[object]]
"""Raises when a dependency does not answer."""

_logger = logging.getLogger(__name__)


# Asynchronous: FastAPI sends what is not to a thread.
async def _signed(request: Request) -> None:
    require_caller(request.scope)


def signed_router() -> APIRouter:
    """Routes for callers that API Gateway has let in."""
    return APIRouter(dependencies=[Depends(_signed)])


def idempotency_key(request: Request) -> str | None:
    """The request's Idempotency-Key. Raises `InvalidIdempotencyKeyError`."""
    headers = request.headers.getlist("idempotency-key")
    if len(headers) > 1:
        raise InvalidIdempotencyKeyError("It was sent more than once.")
    return check_key(headers[0]) if headers else None


def new_app(dependencies: object, *routers: APIRouter, max_body_bytes: int) -> FastAPI:
    """An app behind a buffered API whose routes find `dependencies` in its state."""
    app = FastAPI(
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers=dict(fastapi_exception_handlers()),
        middleware=[
            Middleware(
                RequestMiddleware, read_context=buffered_context, max_body_bytes=max_body_bytes
            )
        ],
    )
    app.state.dependencies = dependencies
    for router in routers:
        app.include_router(router)
    return app


async def readiness(checks: Mapping[str, Check]) -> dict[str, bool]:
    """Whether each dependency answers within `READY_DEADLINE_SECONDS`, by its name."""
    answers = await asyncio.gather(*(_answers(name, checks[name]) for name in checks))
    return dict(zip(checks, answers, strict=True))


async def _answers(name: str, check: Check) -> bool:
    try:
        await asyncio.wait_for(check(), READY_DEADLINE_SECONDS)
    except Exception:
        _logger.exception("not ready", extra={"dependency": name})
        return False
    return True
