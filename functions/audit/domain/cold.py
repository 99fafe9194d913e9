"""What the query function asks the cold function, and what that answers: JSON, the same both ways.

| message | form                                                                                |
| ------- | ----------------------------------------------------------------------------------- |
| request | {"operation": "find", "filter": {...}, "start", "end", "before"?, "limit"} or        |
|         | {"operation": "get", "event_id", "start", "end"} or {"operation": "check"}           |
| answer  | {"items": [{"at", "event_id", "record"}], "next_before": place or null}, or          |
|         | {"error": code, "detail": text or null}                                             |

Times are texts of `servicekit.clock`, a place is {"at", "event_id"}, records are text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from functions.audit.domain.errors import ArchiveUnavailableError, RangeTooWideError
from functions.audit.domain.models import Filter, Found, FoundPage, JsonObject, Position, Span
from functions.audit.domain.pages import fitting
from functions.audit.domain.ports import ColdStore
from servicekit.clock import from_text, to_text
from servicekit.errors import AppError

_ERRORS: Mapping[str, type[AppError]] = {
    error.code: error for error in (RangeTooWideError, ArchiveUnavailableError)
}


class ColdService:
    """Answers requests for what is in the archive."""

    def __init__(self, store: ColdStore) -> None:
        self._store = store

    async def answer(self, request: JsonObject) -> dict[str, Any]:
        """The answer to a request; errors that the caller can act on are answers too."""
        try:
            return _page_message(fitting(await self._page(request)))
        except (RangeTooWideError, ArchiveUnavailableError) as error:
            return {"error": error.code, "detail": error.detail}

    async def _page(self, request: JsonObject) -> FoundPage:
        if request["operation"] == "check":
            await self._store.check()
            return FoundPage([], None)
        span = Span(from_text(request["start"]), from_text(request["end"]))
        if request["operation"] == "get":
            found = await self._store.get(request["event_id"], span)
            return FoundPage([found] if found else [], None)
        before = _place(request["before"])
        return await self._store.find(Filter(**request["filter"]), span, before, request["limit"])


def find_request(wanted: Filter, span: Span, before: Position | None, limit: int) -> dict[str, Any]:
    """Asks for `ColdStore.find`."""
    return {
        "operation": "find",
        "filter": {name: value for name, value in asdict(wanted).items() if value is not None},
        **_span_message(span),
        "before": _place_message(before),
        "limit": limit,
    }


def get_request(event_id: str, span: Span) -> dict[str, Any]:
    """Asks for `ColdStore.get`."""
    return {"operation": "get", "event_id": event_id, **_span_message(span)}


def check_request() -> dict[str, Any]:
    """Asks for `ColdStore.check`."""
    return {"operation": "check"}


def read_answer(answer: JsonObject) -> FoundPage:
    """The page in an answer. Raises `RangeTooWideError` or `ArchiveUnavailableError`."""
    if "error" in answer:
        raise _ERRORS.get(answer["error"], ArchiveUnavailableError)(answer["detail"])
    items = [
        Found(Position(from_text(item["at"]), item["event_id"]), item["record"].encode())
        for item in answer["items"]
    ]
    return FoundPage(items, _place(answer["next_before"]))


def _page_message(page: FoundPage) -> dict[str, Any]:
    items = [
        {
            "at": to_text(found.position.accepted_at),
            "event_id": found.position.event_id,
            "record": found.record.decode(),
        }
        for found in page.items
    ]
    return {"items": items, "next_before": _place_message(page.next_before)}


def _span_message(span: Span) -> dict[str, str]:
    return {"start": to_text(span.start), "end": to_text(span.end)}


def _place_message(position: Position | None) -> dict[str, str] | None:
    if position is None:
        return None
    return {"at": to_text(position.accepted_at), "event_id": position.event_id}


def _place(message: JsonObject | None) -> Position | None:
    if message is None:
        return None
    return Position(from_text(message["at"]), message["event_id"])
