"""The calls that answer at once: health, catalogue, sessions, messages, turns, jobs."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.middleware import Middleware

from contracts.ai import jobs, v1
from contracts.ai.turns import MAX_TURN_ID_LENGTH
from contracts.health import Health, Readiness
from functions.ai.domain.dependencies import Api
from functions.ai.domain.errors import (
    JobNotFoundError,
    SessionNotFoundError,
    TurnNotFoundError,
)
from functions.ai.domain.models import SessionFilter
from functions.ai.domain.sessions import NewMessage, NewSession
from functions.ai.routes import money, routing, wire
from functions.ai.routes.idempotent import keyed
from functions.ai.routes.parameters import (
    ApiDep,
    Cursor,
    Id,
    Limit,
    OptionalId,
    require_whose,
    signed,
)
from servicekit.asgi import RequestMiddleware
from servicekit.fastapi_app import readiness
from servicekit.identity import buffered_context
from servicekit.paging import DEFAULT_LIMIT
from servicekit.problems import fastapi_exception_handlers, read_json
from servicekit.responses import WireResponse

_logger = logging.getLogger(__name__)


def _session_id(session_id: str) -> str:
    # No session has a longer one, and a longer key is an error to DynamoDB.
    if len(session_id) > v1.MAX_SESSION_ID_LENGTH:
        raise SessionNotFoundError
    return session_id


def _turn_id(turn_id: str) -> str:
    if len(turn_id) > MAX_TURN_ID_LENGTH:
        raise TurnNotFoundError
    return turn_id


def _job_id(job_id: str) -> str:
    if len(job_id) > MAX_TURN_ID_LENGTH:
        raise JobNotFoundError
    return job_id


SessionId = Annotated[str, Depends(_session_id)]
TurnId = Annotated[str, Depends(_turn_id)]
JobId = Annotated[str, Depends(_job_id)]

open_routes = APIRouter()
signed_routes = APIRouter(dependencies=[Depends(signed)])


def create_app(api: Api) -> FastAPI:
    """The buffered function's app."""
    app = FastAPI(
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers=dict(fastapi_exception_handlers()),
        middleware=[
            Middleware(
                RequestMiddleware,
                read_context=buffered_context,
                max_body_bytes=v1.MAX_BODY_BYTES,
            )
        ],
    )
    app.state.api = api
    app.include_router(open_routes)
    app.include_router(signed_routes)
    app.include_router(money.routes)
    app.include_router(routing.routes)
    return app


@open_routes.get("/health")
async def get_health(api: ApiDep) -> WireResponse:
    """Whether the process answers."""
    return WireResponse(Health(service=api.service_name))


@signed_routes.get("/ready")
async def get_readiness(api: ApiDep) -> WireResponse:
    """Whether the table answers in time."""
    answers = await readiness({"dynamodb": api.store.check})
    ready = Readiness.told(api.service_name, answers)
    return WireResponse(ready, 200 if all(answers.values()) else 503)


@signed_routes.get("/api/v1/providers")
async def list_providers(api: ApiDep) -> WireResponse:
    """All providers."""
    default = api.catalogue.default.provider
    active = await api.providers.active()
    return WireResponse(
        [
            wire.provider(known, is_active=known.name in active, is_default=known is default)
            for known in api.catalogue.providers
        ]
    )


@signed_routes.get("/api/v1/models")
async def list_models(api: ApiDep, provider_id: OptionalId = None) -> WireResponse:
    """All models, or one provider's."""
    now = api.clock()
    active = await api.providers.active()
    return WireResponse(
        [
            wire.model(known, now, is_active=known.provider.name in active)
            for known in api.catalogue.of_provider(provider_id)
        ]
    )


@signed_routes.post("/api/v1/sessions")
async def create_session(request: Request, api: ApiDep, user_id: Id) -> WireResponse:
    """Starts a session; calls no model."""
    body = await read_json(request, v1.SessionCreate)
    view = await api.sessions.create(
        NewSession(
            project_id=body.project_id,
            user_id=user_id,
            card_id=body.card_id,
            provider=body.provider,
            model=body.model,
            initial_message=body.initial_message,
            system_prompt=body.system_prompt,
        ),
        keyed(request, "create_session", body, body.project_id, user_id),
    )
    return WireResponse(wire.session(view, api.content_bucket))


@signed_routes.get("/api/v1/sessions")
async def list_sessions(
    api: ApiDep,
    project_id: OptionalId = None,
    user_id: OptionalId = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> WireResponse:
    """Sessions of a project, a user, or a user in a project, newest first."""
    require_whose(project_id, user_id)
    wanted = SessionFilter(project_id, user_id)
    page = await api.sessions.list_sessions(wanted, limit, cursor)
    return WireResponse(wire.session_page(page))


@signed_routes.get("/api/v1/sessions/{session_id}")
async def get_session(api: ApiDep, session_id: SessionId) -> WireResponse:
    """A session with its newest messages."""
    view = await api.sessions.get(session_id)
    return WireResponse(wire.session(view, api.content_bucket))


@signed_routes.patch("/api/v1/sessions/{session_id}")
async def update_session(request: Request, api: ApiDep, session_id: SessionId) -> WireResponse:
    """Overwrites a session's status, context or card."""
    body = await read_json(request, v1.SessionUpdate)
    view = await api.sessions.update(session_id, body.changes())
    return WireResponse(wire.session(view, api.content_bucket))


@signed_routes.delete("/api/v1/sessions/{session_id}")
async def delete_session(api: ApiDep, session_id: SessionId) -> WireResponse:
    """Removes a session with its messages."""
    await api.sessions.delete(session_id)
    return WireResponse(v1.SessionDeleted(message="Session deleted"))


@signed_routes.get("/api/v1/sessions/{session_id}/messages")
async def list_messages(
    api: ApiDep, session_id: SessionId, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> WireResponse:
    """A session's messages, oldest first."""
    page = await api.sessions.messages(session_id, limit, cursor)
    return WireResponse(wire.message_page(page, api.content_bucket))


@signed_routes.post("/api/v1/sessions/{session_id}/messages")
async def add_message(request: Request, api: ApiDep, session_id: SessionId) -> WireResponse:
    """Stores a message; calls no model."""
    body = await read_json(request, v1.MessageCreate)
    stored = await api.sessions.add_message(
        session_id,
        NewMessage(body.role, body.content, body.tool_calls, body.tool_results),
        keyed(request, "add_message", body, session_id),
    )
    return WireResponse(wire.message(stored, api.content_bucket))


@signed_routes.get("/api/v1/turns/{turn_id}")
async def get_turn(api: ApiDep, turn_id: TurnId) -> WireResponse:
    """A turn as it is now."""
    return WireResponse(wire.turn(await api.turns.get(turn_id)))


@signed_routes.post("/api/v1/turns/{turn_id}/cancel")
async def cancel_turn(api: ApiDep, turn_id: TurnId) -> WireResponse:
    """Asks a turn to stop."""
    return WireResponse(wire.turn(await api.turns.cancel(turn_id)))


@signed_routes.post("/api/v1/jobs")
async def create_job(request: Request, api: ApiDep) -> WireResponse:
    """Stores a message for a worker to have it answered."""
    body = await read_json(request, jobs.JobCreate)
    key = keyed(request, "create_job", body, body.project_id, body.user_id)
    queued = await api.jobs.create(wire.chat_command(body), body.priority, key)
    return WireResponse(jobs.JobQueued(job_id=queued.job_id, session_id=queued.session_id), 202)


@signed_routes.get("/api/v1/jobs/{job_id}")
async def get_job(api: ApiDep, job_id: JobId) -> WireResponse:
    """A job as it is now."""
    return WireResponse(wire.job(await api.jobs.get(job_id)))
