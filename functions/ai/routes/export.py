"""A user's data as newline-delimited JSON, as it is read."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import StreamingResponse

from contracts.ai import export as contract
from contracts.base import MAX_ID
from contracts.operation import NDJSON_MEDIA_TYPE
from functions.ai.domain.dependencies import Stream
from functions.ai.domain.export import ExportEnd, ExportItem
from functions.ai.domain.models import Message, Session
from functions.ai.domain.summaries import Summary
from functions.ai.routes import money_wire, wire
from servicekit.clock import utc_now
from servicekit.errors import InvalidRequestError
from servicekit.identity import require_caller

_BATCH_BYTES = 65_536


async def export_user(request: Request) -> StreamingResponse:
    """All that the service keeps of the user."""
    require_caller(request.scope)
    stream: Stream = request.app.state.stream
    user_id = _user_id(request.path_params["user_id"])
    items = await stream.export.start(user_id, utc_now().date())
    return StreamingResponse(
        _lines(items, stream.content_bucket),
        media_type=NDJSON_MEDIA_TYPE,
        headers={"cache-control": "no-store"},
    )


def _user_id(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MAX_ID:
        message = f"It is an integer from 1 to {MAX_ID}."
        raise InvalidRequestError(errors=[{"field": "user_id", "message": message}])
    return int(text)


async def _lines(items: AsyncIterator[ExportItem], bucket: str) -> AsyncIterator[bytes]:
    """A failure on the way cuts the body off: what lacks its last line is not whole."""
    batch = bytearray()
    session_id = ""
    async for item in items:
        if isinstance(item, Session):
            session_id = item.session_id
        batch += _line(item, session_id, bucket).model_dump_json(exclude_none=True).encode() + b"\n"
        if len(batch) >= _BATCH_BYTES:
            yield bytes(batch)
            batch.clear()
    yield bytes(batch)


def _line(item: ExportItem, session_id: str, bucket: str) -> contract.ExportLine:
    match item:
        case Session():
            return contract.ExportLine(type="session", session=wire.session_summary(item))
        case Message():
            return contract.ExportLine(
                type="message", session_id=session_id, message=wire.message(item, bucket)
            )
        case Summary():
            summary = contract.ExportSummary(text=item.text, created_at=item.created_at)
            return contract.ExportLine(type="summary", session_id=session_id, summary=summary)
        case ExportEnd(sessions, messages, summaries, usage):
            counts = contract.ExportCounts(
                sessions=sessions, messages=messages, summaries=summaries, usage=usage
            )
            return contract.ExportLine(type="end", counts=counts)
        case _:
            return contract.ExportLine(type="usage", usage=money_wire.aggregate(item))
