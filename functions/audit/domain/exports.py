"""Exports as callers ask for them; `export_worker` makes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from functions.audit.domain.errors import ExportConflictError, ExportNotFoundError
from functions.audit.domain.models import Export, Filter
from functions.audit.domain.ports import ExportFiles, ExportQueue, Exports
from functions.audit.domain.spans import EARLIEST, Range
from servicekit.clock import Clock, to_text
from servicekit.idempotency import IdempotencyConflictError
from servicekit.paging import decode_cursor, encode_cursor

KEPT_DAYS = 7
"""How long an export can be fetched; the bucket's lifecycle removes it then."""

LINK_SECONDS = 3_600
"""How long a link works at most; each call issues a new one."""

STALLED = timedelta(minutes=2)
"""A worker that has not told of itself for so long is no more."""

_LISTING = "exports"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is to be exported, and for whom."""

    filter: Filter
    range: Range
    principal: str


@dataclass(frozen=True, slots=True)
class ExportView:
    """An export and, when it is complete, a link to its bundle."""

    export: Export
    link: str | None


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Exports newest first."""

    exports: Sequence[Export]
    next_cursor: str | None


class ExportService:
    """Asks for exports, and tells how they are."""

    def __init__(
        self, exports: Exports, files: ExportFiles, queue: ExportQueue, clock: Clock
    ) -> None:
        self._exports = exports
        self._files = files
        self._queue = queue
        self._clock = clock

    async def create(self, request: ExportRequest, key: str | None) -> Export:
        """Has an export made; the same request again gets the same export.

        Same means: same Idempotency-Key `key`, or without one, same principal, filter and range,
        if that has ended. One that has failed, expired or stalled is made anew. Raises
        `InvalidRangeError` and `IdempotencyConflictError`.
        """
        now = self._clock()
        wanted = Export(
            export_id=_export_id(request, key, now),
            status="queued",
            span=request.range.resolve(now),
            filter=request.filter,
            requested_by=request.principal,
            created_at=now,
            updated_at=now,
            expires_at=now + timedelta(days=KEPT_DAYS),
        )
        stored = await self._exports.create(wanted)
        if stored != wanted and key is not None and not _is_of(stored, request):
            raise IdempotencyConflictError
        if _is_over(stored, now):
            stored = await self._again(stored, wanted)
        if stored.status == "queued":
            # Also when it was queued before: a crash may have come between the two. A worker that
            # is asked twice works once.
            await self._queue.send(stored.export_id)
        return stored

    async def get(self, export_id: str) -> ExportView:
        """An export. Raises `ExportNotFoundError`."""
        export = await self._exports.get(export_id)
        if export is None or export.expires_at <= self._clock():
            raise ExportNotFoundError
        link = None
        if export.status == "completed" and export.object_name is not None:
            link = await self._files.link(export.object_name, LINK_SECONDS)
        return ExportView(export, link)

    async def list_exports(self, limit: int, cursor: str | None) -> ExportPage:
        """A page of exports. Raises `InvalidCursorError`."""
        position = decode_cursor(cursor, _LISTING) if cursor is not None else None
        found, following = await self._exports.list(limit, position)
        now = self._clock()
        return ExportPage(
            [export for export in found if export.expires_at > now],
            None if following is None else encode_cursor(following, _LISTING),
        )

    async def _again(self, stored: Export, wanted: Export) -> Export:
        fresh = replace(wanted, version=stored.version)
        try:
            return await self._exports.update(fresh)
        except ExportConflictError:
            # Somebody else had the same idea.
            return await self._exports.get(stored.export_id) or wanted


def _is_over(export: Export, now: datetime) -> bool:
    stalled = export.status == "running" and export.updated_at + STALLED <= now
    return stalled or export.status == "failed" or export.expires_at <= now


def _is_of(export: Export, request: ExportRequest) -> bool:
    """Whether an export that has this key is the one asked for."""
    start, end = request.range.start, request.range.end
    return (
        export.filter == request.filter
        and (start is None or max(start, EARLIEST) == export.span.start)
        and (end is None or min(end, export.created_at) == export.span.end)
    )


def _export_id(request: ExportRequest, key: str | None, now: datetime) -> str:
    content: list[object] = [request.principal]
    if key is not None:
        content += ["key", key]
    else:
        start, end = request.range.start, request.range.end
        # Of a range that goes on, each export holds what was accepted up to then.
        up_to = now if end is None else min(end, now)
        content += [asdict(request.filter), start and to_text(start), to_text(up_to)]
    return f"exp-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]}"
