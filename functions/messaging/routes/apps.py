"""Which routes each of the two functions behind the API serves: by its operation's tag."""

from __future__ import annotations

from fastapi import FastAPI

from contracts.messaging.operations import MAX_BODY_BYTES
from functions.messaging.domain.dependencies import Control
from functions.messaging.routes import health, subscriptions
from servicekit.fastapi_app import new_app


def create_control_app(dependencies: Control) -> FastAPI:
    """Of the calls that read and administrate."""
    return new_app(
        dependencies,
        health.open_routes,
        health.signed_routes,
        subscriptions.routes,
        max_body_bytes=MAX_BODY_BYTES,
    )
