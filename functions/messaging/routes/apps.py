"""Which routes each of the two functions behind the API serves: by its operation's tag."""

from __future__ import annotations

from fastapi import FastAPI

from contracts.messaging.operations import MAX_BODY_BYTES
from functions.messaging.domain.dependencies import Control, Publish
from functions.messaging.routes import (
    deliveries,
    events,
    health,
    progress,
    publishing,
    streams,
    subscriptions,
    tickets,
)
from servicekit.fastapi_app import new_app


def create_publish_app(dependencies: Publish) -> FastAPI:
    """Of the calls that are made all the time."""
    return new_app(
        dependencies,
        publishing.routes,
        deliveries.routes,
        progress.routes,
        max_body_bytes=MAX_BODY_BYTES,
    )


def create_control_app(dependencies: Control) -> FastAPI:
    """Of the calls that read and administrate."""
    return new_app(
        dependencies,
        health.open_routes,
        health.signed_routes,
        events.routes,
        streams.routes,
        tickets.routes,
        subscriptions.routes,
        max_body_bytes=MAX_BODY_BYTES,
    )
