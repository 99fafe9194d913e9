"""The API function's app."""

from __future__ import annotations

from fastapi import FastAPI

from contracts.browser.sessions import MAX_BODY_BYTES
from functions.browser.domain.dependencies import Api
from functions.browser.routes import health, pages, sessions, tasks
from servicekit.fastapi_app import new_app


def create_app(dependencies: Api) -> FastAPI:
    """All of the pool's calls."""
    return new_app(
        dependencies,
        health.open_routes,
        health.signed_routes,
        sessions.routes,
        pages.routes,
        tasks.routes,
        max_body_bytes=MAX_BODY_BYTES,
    )
