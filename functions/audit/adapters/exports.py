"""Exports in the ledger table. See `keys` for items.

| access pattern        | operation                                |
| --------------------- | ---------------------------------------- |
| ask for an export     | PutItem, if there is none of that id     |
| an export             | GetItem, consistent                      |
| the exports           | Query on gsi1, newest first              |
| change an export      | PutItem, if the version is the one read  |
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from functions.audit.adapters import keys
from functions.audit.domain.errors import ExportConflictError
from functions.audit.domain.models import Export, Filter, Span
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import NEW, ConditionFailedError, DynamoTable, Expression, Item, Put
from servicekit.errors import StoreUnavailableError
from servicekit.paging import InvalidCursorError

_INDEX = "gsi1"
_POSITION = re.compile(r"[0-9TZ:.-]{27}#([0-9a-z-]{1,64})")


class DynamoExports:
    """`ports.Exports` on DynamoDB."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def create(self, export: Export) -> Export:
        """See `ports.Exports`."""
        try:
            await self._table.put(Put(_item(export), NEW))
        except ConditionFailedError:
            found = await self.get(export.export_id)
            if found is None:
                raise StoreUnavailableError(retry_after=1) from None
            return found
        return export

    async def get(self, export_id: str) -> Export | None:
        """See `ports.Exports`."""
        item = await self._table.get(keys.export_key(export_id))
        return _export_from(item) if item else None

    async def list(self, limit: int, position: str | None) -> tuple[list[Export], str | None]:
        """See `ports.Exports`."""
        page = await self._table.query(
            f"{_INDEX}pk = :pk",
            {":pk": keys.EXPORTS},
            index=_INDEX,
            forward=False,
            limit=limit,
            start=None if position is None else _start(position),
        )
        last = page.last_key
        return [_export_from(item) for item in page.items], str(
            last[f"{_INDEX}sk"]
        ) if last else None

    async def update(self, export: Export) -> Export:
        """See `ports.Exports`."""
        moved = replace(export, version=export.version + 1)
        expression = Expression("version = :version", values={":version": export.version})
        try:
            await self._table.put(Put(_item(moved), expression))
        except ConditionFailedError:
            raise ExportConflictError(retry_after=5) from None
        return moved


def _start(position: str) -> Item:
    # Anyone can make a cursor, and DynamoDB takes no key of a form that it never gave.
    match = _POSITION.fullmatch(position)
    if match is None:
        raise InvalidCursorError
    return {f"{_INDEX}pk": keys.EXPORTS, f"{_INDEX}sk": position, **keys.export_key(match[1])}


def _item(export: Export) -> Item:
    created_at = to_text(export.created_at)
    return {
        **keys.export_key(export.export_id),
        f"{_INDEX}pk": keys.EXPORTS,
        f"{_INDEX}sk": f"{created_at}#{export.export_id}",
        "export_id": export.export_id,
        "status": export.status,
        "start_time": to_text(export.span.start),
        "end_time": to_text(export.span.end),
        "filter": json.dumps(asdict(export.filter)),
        "requested_by": export.requested_by,
        "created_at": created_at,
        "updated_at": to_text(export.updated_at),
        "expires_at": int(export.expires_at.timestamp()),
        "expires": to_text(export.expires_at),
        "version": export.version,
        "records": export.records,
        "proven": export.proven,
        "object_name": export.object_name,
        "size_bytes": export.size_bytes,
        "error": export.error,
    }


def _export_from(item: Mapping[str, Any]) -> Export:
    return Export(
        export_id=item["export_id"],
        status=item["status"],
        span=Span(from_text(item["start_time"]), from_text(item["end_time"])),
        filter=Filter(**json.loads(item["filter"])),
        requested_by=item["requested_by"],
        created_at=from_text(item["created_at"]),
        updated_at=from_text(item["updated_at"]),
        expires_at=from_text(item["expires"]),
        version=item["version"],
        records=item["records"],
        proven=item["proven"],
        object_name=item["object_name"],
        size_bytes=item["size_bytes"],
        error=item["error"],
    )
