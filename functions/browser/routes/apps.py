"""The API function's app."""

from __future__ import annotations

from fastapi import FastAPI

from contracts.browser.sessions import MAX_BODY_BYTES
from functions.browser.domain.dependencies import Api
from functions.browser.routes import health, pages, sessions
from servicekit.fastapi_app import new_app


def create_app(dependencies: Api) -> FastAPI:
    """All of the pool's calls."""
    return new_app(
        dependencies,
        health.open_routes,
        health.signed_routes,
        sessions.routes,
        pages.routes,
        max_body_bytes=MAX_BODY_BYTES,
    )
