"""What the apps behind the API have in common."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.middleware import Middleware

from contracts.audit.v1 import MAX_BODY_BYTES
from servicekit.asgi import RequestMiddleware
from servicekit.idempotency import InvalidIdempotencyKeyError, check_key
from servicekit.identity import buffered_context, require_caller
from servicekit.problems import fastapi_exception_handlers


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


def new_app(dependencies: object, *routers: APIRouter) -> FastAPI:
    """An app whose routes find `dependencies` in its state."""
    app = FastAPI(
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers=dict(fastapi_exception_handlers()),
        middleware=[
            Middleware(
                RequestMiddleware, read_context=buffered_context, max_body_bytes=MAX_BODY_BYTES
            )
        ],
    )
    app.state.dependencies = dependencies
    for router in routers:
        app.include_router(router)
    return app
