"""The calls about streams: how they stand, their dead letters, redrives and replays."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from contracts.base import WireModel
from contracts.messaging import dead_letters as letters
from contracts.messaging import figures as figures_contract
from contracts.messaging import replays as replays_contract
from contracts.messaging.publishing import ID_PATTERN
from functions.messaging.domain.dependencies import Control
from functions.messaging.domain.figures import StreamService
from functions.messaging.domain.redrives import DeadLetterService, RedriveRequest
from functions.messaging.domain.replays import ReplayRequest, ReplayService
from functions.messaging.routes import stream_wire
from servicekit.fastapi_app import idempotency_key, signed_router
from servicekit.identity import require_caller
from servicekit.problems import read_json
from servicekit.responses import WireResponse

routes: APIRouter = signed_router()

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _moment(value: object) -> datetime:
    """A time as it must be written: pydantic takes numbers and bare days as well."""
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise PydanticCustomError("rfc_3339", "Input should be a time as RFC 3339 writes it")


Time = Annotated[datetime, BeforeValidator(_moment)]


class _Page(WireModel):
    limit: Annotated[int, Field(ge=1, le=letters.MAX_LIMIT)] = letters.DEFAULT_LIMIT
    cursor: Annotated[str | None, Field(min_length=1, max_length=letters.MAX_CURSOR_LENGTH)] = None


class _LettersQuery(letters.DeadLetterFilter, _Page):
    older_than: Time | None = None
    newer_than: Time | None = None


async def _letters(request: Request) -> DeadLetterService:
    dependencies: Control = request.app.state.dependencies
    return dependencies.letters


async def _replays(request: Request) -> ReplayService:
    dependencies: Control = request.app.state.dependencies
    return dependencies.replays


async def _streams(request: Request) -> StreamService:
    dependencies: Control = request.app.state.dependencies
    return dependencies.streams


async def _caller(request: Request) -> str:
    """The name of the caller's role: the account is everybody's."""
    return require_caller(request.scope).principal.rpartition("/")[2]


LettersDep = Annotated[DeadLetterService, Depends(_letters)]
ReplaysDep = Annotated[ReplayService, Depends(_replays)]
StreamsDep = Annotated[StreamService, Depends(_streams)]
CallerDep = Annotated[str, Depends(_caller)]
StreamPath = Annotated[str, Path(min_length=1, max_length=64)]
IdPath = Annotated[str, Path(pattern=ID_PATTERN)]


@routes.get("/api/v1/stats")
async def get_stats(streams: StreamsDep) -> WireResponse:
    """How the service stands."""
    return WireResponse(stream_wire.stats(await streams.all()))


@routes.get("/api/v1/streams")
async def list_streams(streams: StreamsDep) -> WireResponse:
    """All streams."""
    found = await streams.all()
    return WireResponse(
        figures_contract.StreamList(streams=[stream_wire.stream(one) for one in found])
    )


@routes.get("/api/v1/streams/{stream}")
async def get_stream(streams: StreamsDep, stream: StreamPath) -> WireResponse:
    """One stream."""
    return WireResponse(stream_wire.stream(await streams.one(stream)))


@routes.get("/api/v1/streams/{stream}/dead-letters")
async def list_dead_letters(
    service: LettersDep, stream: StreamPath, query: Annotated[_LettersQuery, Query()]
) -> WireResponse:
    """A page of a stream's dead letters."""
    page = await service.page(stream, stream_wire.filter_of(query), query.limit, query.cursor)
    return WireResponse(stream_wire.dead_letters(stream, page))


@routes.post("/api/v1/streams/{stream}/redrive")
async def redrive(
    request: Request, service: LettersDep, caller: CallerDep, stream: StreamPath
) -> WireResponse:
    """Sends letters again, or says which ones it would send."""
    asked = await read_json(request, letters.RedriveCreate)
    wanted = stream_wire.filter_of(asked.filter)
    if asked.dry_run:
        return WireResponse(stream_wire.dry_run(await service.preview(stream, wanted)))
    begun = await service.begin(
        RedriveRequest(
            stream=stream,
            filter=wanted,
            rate=asked.rate,
            requested_by=caller,
            key=idempotency_key(request),
        )
    )
    return WireResponse(stream_wire.redrive(begun), 202)


@routes.get("/api/v1/streams/{stream}/redrives")
async def list_redrives(
    service: LettersDep, stream: StreamPath, query: Annotated[_Page, Query()]
) -> WireResponse:
    """A page of a stream's redrives."""
    page = await service.of_stream(stream, query.limit, query.cursor)
    return WireResponse(stream_wire.redrives(page))


@routes.get("/api/v1/redrives/{redrive_id}")
async def get_redrive(service: LettersDep, redrive_id: IdPath) -> WireResponse:
    """How far a redrive is."""
    return WireResponse(stream_wire.redrive(await service.get(redrive_id)))


@routes.post("/api/v1/redrives/{redrive_id}/cancel")
async def cancel_redrive(service: LettersDep, redrive_id: IdPath) -> WireResponse:
    """Ends a redrive."""
    return WireResponse(stream_wire.redrive(await service.cancel(redrive_id)))


@routes.post("/api/v1/replays")
async def create_replay(request: Request, service: ReplaysDep, caller: CallerDep) -> WireResponse:
    """Begins a replay."""
    asked = await read_json(request, replays_contract.ReplayCreate)
    begun = await service.begin(
        ReplayRequest(
            stream=asked.stream,
            types=asked.types,
            start=asked.start,
            end=asked.end,
            requested_by=caller,
            key=idempotency_key(request),
        )
    )
    return WireResponse(stream_wire.replay(begun), 202)


@routes.get("/api/v1/replays")
async def list_replays(service: ReplaysDep, query: Annotated[_Page, Query()]) -> WireResponse:
    """A page of replays."""
    return WireResponse(stream_wire.replays(await service.page(query.limit, query.cursor)))


@routes.get("/api/v1/replays/{replay_id}")
async def get_replay(service: ReplaysDep, replay_id: IdPath) -> WireResponse:
    """How far a replay is."""
    return WireResponse(stream_wire.replay(await service.get(replay_id)))


@routes.post("/api/v1/replays/{replay_id}/cancel")
async def cancel_replay(service: ReplaysDep, replay_id: IdPath) -> WireResponse:
    """Ends a replay."""
    return WireResponse(stream_wire.replay(await service.cancel(replay_id)))
