"""The calls that read events."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query, Request

from contracts.messaging import publishing as contract
from functions.messaging.domain.dependencies import Control
from functions.messaging.domain.event_life import EventReader
from functions.messaging.routes import event_wire
from servicekit.fastapi_app import signed_router
from servicekit.responses import WireResponse

routes = signed_router()


async def _reader(request: Request) -> EventReader:
    dependencies: Control = request.app.state.dependencies
    return dependencies.events


ReaderDep = Annotated[EventReader, Depends(_reader)]


@routes.get("/api/v1/events")
async def find_events(
    reader: ReaderDep,
    correlation_id: Annotated[str, Query(pattern=contract.ID_PATTERN)],
    limit: Annotated[int, Query(ge=1, le=contract.MAX_CHAIN_LIMIT)] = contract.DEFAULT_CHAIN_LIMIT,
    cursor: Annotated[
        str | None, Query(min_length=1, max_length=contract.MAX_CURSOR_LENGTH)
    ] = None,
) -> WireResponse:
    """The chain of a correlation id."""
    return WireResponse(event_wire.chain(await reader.chain(correlation_id, limit, cursor)))


@routes.get("/api/v1/events/{event_id}")
async def get_event(
    reader: ReaderDep, event_id: Annotated[str, Path(pattern=contract.ID_PATTERN)]
) -> WireResponse:
    """An event and its life."""
    return WireResponse(event_wire.life(await reader.life(event_id)))


@routes.get("/api/v1/event-types")
async def list_event_types() -> WireResponse:
    """Every type that has a schema."""
    return WireResponse(event_wire.event_types())
