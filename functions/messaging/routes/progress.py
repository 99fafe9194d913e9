"""Progress, as workers post it."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from fastapi import Depends, Request

from contracts.messaging import progress as contract
from contracts.problem import Problem
from functions.messaging.domain.dependencies import Publish
from functions.messaging.domain.progress import NewMessage, Posted, ProgressService
from servicekit.errors import AppError
from servicekit.fastapi_app import idempotency_key, signed_router
from servicekit.identity import require_caller
from servicekit.problems import read_json
from servicekit.responses import WireResponse

routes = signed_router()


async def _service(request: Request) -> ProgressService:
    dependencies: Publish = request.app.state.dependencies
    return dependencies.progress


ServiceDep = Annotated[ProgressService, Depends(_service)]


@routes.post("/api/v1/progress")
async def post_progress(request: Request, service: ServiceDep) -> WireResponse:
    """Tells whoever follows a topic."""
    message = await read_json(request, contract.ProgressCreate)
    posted = await service.post(_new(message, _key(request), 0))
    return WireResponse(_progress(posted))


@routes.post("/api/v1/progress/batch")
async def post_progress_batch(request: Request, service: ServiceDep) -> WireResponse:
    """The same for several messages."""
    batch = await read_json(request, contract.ProgressBatch)
    key = _key(request)
    news = [_new(message, key, index) for index, message in enumerate(batch.messages)]
    results = await service.post_all(news)
    items = [_item(index, result) for index, result in enumerate(results)]
    return WireResponse(contract.ProgressBatchResult(results=items))


def _key(request: Request) -> str | None:
    """What stands for the event ids of messages that have none: the key, within its caller."""
    key = idempotency_key(request)
    if key is None:
        return None
    principal = require_caller(request.scope).principal
    return hashlib.sha256(f"{principal}\0{key}".encode()).hexdigest()


def _new(message: contract.ProgressCreate, key: str | None, index: int) -> NewMessage:
    return NewMessage(
        topic=message.topic,
        data=json.dumps(message.data, ensure_ascii=False, separators=(",", ":")),
        event_id=message.event_id or (f"key:{key}:{index}" if key else None),
        terminal=message.terminal,
    )


def _progress(posted: Posted) -> contract.Progress:
    return contract.Progress(
        topic=posted.topic,
        sequence=posted.sequence,
        pushed=posted.pushed.pushed,
        gone=posted.pushed.gone,
        late=posted.pushed.late,
        handed_on=posted.handed_on,
    )


def _item(index: int, result: Posted | AppError) -> contract.ProgressItem:
    if isinstance(result, AppError):
        problem = Problem.model_validate(result.to_problem(None))
        return contract.ProgressItem(index=index, status=result.status, error=problem)
    return contract.ProgressItem(index=index, status=200, progress=_progress(result))
