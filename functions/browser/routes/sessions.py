"""The calls about sessions, and batches of steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Path, Query, Request

from contracts.browser import sessions as contract
from contracts.browser.steps import StepBatch
from functions.browser.domain.dependencies import Api
from functions.browser.domain.sessions import Caller, NewSession
from functions.browser.routes import wire
from servicekit import idempotency
from servicekit.fastapi_app import idempotency_key, signed_router
from servicekit.identity import require_caller
from servicekit.paging import decode_cursor, encode_cursor
from servicekit.problems import read_json
from servicekit.responses import WireResponse

BUDGET = timedelta(seconds=contract.SYNCHRONOUS_SECONDS)
PATIENCE = timedelta(seconds=2)
"""How long a call waits for the one before it."""

routes = signed_router()


# Asynchronous: FastAPI sends what is not to a thread.
async def _api(request: Request) -> Api:
    dependencies: Api = request.app.state.dependencies
    return dependencies


async def _caller(request: Request) -> Caller:
    return Caller(require_caller(request.scope).principal)


ApiDep = Annotated[Api, Depends(_api)]
CallerDep = Annotated[Caller, Depends(_caller)]
SessionId = Annotated[str, Path(min_length=1, max_length=64)]
Limit = Annotated[int, Query(ge=1, le=contract.MAX_ARTIFACTS)]
Cursor = Annotated[str | None, Query(min_length=1, max_length=contract.MAX_CURSOR_LENGTH)]


@routes.post("/api/v1/sessions")
async def create_session(request: Request, api: ApiDep, caller: CallerDep) -> WireResponse:
    """Opens a session."""
    asked = await read_json(request, contract.SessionCreate)
    new = NewSession(asked.user_id, asked.project_id, asked.metadata)
    key = idempotency_key(request)
    keyed = None
    if key is not None:
        keyed = idempotency.Request(
            idempotency.scope_key(key, caller.principal, "create_session"),
            idempotency.fingerprint(asked.model_dump(mode="json", exclude_defaults=True)),
        )
    return WireResponse(wire.session(await api.sessions.create(caller, new, keyed)))


@routes.get("/api/v1/sessions")
async def list_sessions(api: ApiDep, caller: CallerDep) -> WireResponse:
    """The caller's open sessions."""
    return WireResponse([wire.session(one) for one in await api.sessions.list(caller)])


@routes.get("/api/v1/sessions/{session_id}")
async def get_session(api: ApiDep, caller: CallerDep, session_id: SessionId) -> WireResponse:
    """One of them."""
    return WireResponse(wire.session(await api.sessions.find(caller, session_id)))


@routes.delete("/api/v1/sessions/{session_id}")
async def delete_session(api: ApiDep, caller: CallerDep, session_id: SessionId) -> WireResponse:
    """Ends one."""
    await api.sessions.close(caller, session_id)
    return WireResponse(contract.Done(message="The session is closed"))


@routes.post("/api/v1/sessions/{session_id}/steps")
async def run_steps(
    request: Request, api: ApiDep, caller: CallerDep, session_id: SessionId
) -> WireResponse:
    """Does a batch of steps."""
    batch = await read_json(request, StepBatch)
    answer = await api.dispatcher.run(caller, session_id, batch, budget=BUDGET, patience=PATIENCE)
    return WireResponse(answer.result)


@routes.get("/api/v1/sessions/{session_id}/artifacts")
async def list_artifacts(
    api: ApiDep,
    caller: CallerDep,
    session_id: SessionId,
    limit: Limit = contract.DEFAULT_ARTIFACTS,
    cursor: Cursor = None,
) -> WireResponse:
    """Files that steps made, with new links."""
    query = f"artifacts {session_id}"
    after = decode_cursor(cursor, query) if cursor else ""
    found, more = await api.artifacts.page(caller, session_id, after, limit)
    page = contract.ArtifactPage(
        artifacts=[wire.artifact(one) for one in found],
        has_more=more,
        next_cursor=encode_cursor(found[-1].file.name, query) if more else None,
    )
    return WireResponse(page)


@routes.get("/api/v1/stats")
async def get_stats(api: ApiDep, caller: CallerDep) -> WireResponse:
    """How the pool stands."""
    held, free = await api.sessions.active()
    mine = [wire.session(one) for one in await api.sessions.list(caller)]
    stats = contract.Stats(
        total_browsers=held + free, active_sessions=held, available_slots=free, session_details=mine
    )
    return WireResponse(stats)
