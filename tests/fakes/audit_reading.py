"""The ports that the audit sink reads through, in memory."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from functions.audit.domain.errors import ExportConflictError, RangeTooWideError
from functions.audit.domain.models import (
    Entry,
    Export,
    Filter,
    Found,
    FoundPage,
    Position,
    Span,
    Terms,
)
from servicekit.clock import to_text
from servicekit.paging import InvalidCursorError

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


def entry(event_id: str, at: datetime, **fields: Any) -> Entry:
    """A stored event, with a record of the canonical form."""
    content = {
        "schema": 1,
        "event_id": event_id,
        "timestamp": to_text(at),
        "event_type": "user_action",
        "resource": "project/7",
        "action": "update",
        "metadata": {"note": "é ☃"},
        "reported_by": "arn:aws:iam::000000000000:role/ai",
        **fields,
    }
    record = json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return Entry(
        event_id=event_id,
        accepted_at=at,
        record=record.encode(),
        fingerprint=hashlib.sha256(record.encode()).hexdigest(),
        terms=Terms(**{name: content.get(name) for name in Terms.__dataclass_fields__}),
    )


class MemoryRecords:
    """`ports.RecordReader` and `ports.ColdStore` over any entries."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = list(entries)
        self.asked: list[Span] = []
        self.largest_page = 1_000
        self.failure: Exception | None = None

    async def get(self, event_id: str, span: Span | None = None) -> Any:
        self._fail()
        if span is None:
            return next((e for e in self.entries if e.event_id == event_id), None)
        self.asked.append(span)
        found = [e for e in self.entries if e.event_id == event_id and _within(e, span)]
        return _found(max(found, key=lambda e: e.accepted_at)) if found else None

    async def get_many(self, event_ids: Sequence[str]) -> list[Entry]:
        by_id = {e.event_id: e for e in self.entries}
        return [by_id[event_id] for event_id in event_ids if event_id in by_id]

    async def find(
        self, wanted: Filter, span: Span, before: Position | None, limit: int
    ) -> FoundPage:
        self._fail()
        self.asked.append(span)
        found = sorted(
            (
                _found(e)
                for e in self.entries
                if _within(e, span)
                and wanted.matches(e.terms)
                and (before is None or _found(e).position < before)
            ),
            key=lambda item: item.position,
            reverse=True,
        )
        page = found[: min(limit, self.largest_page)]
        return FoundPage(page, page[-1].position if len(found) > len(page) else None)

    async def sequences(self, producer: str, after: int, limit: int) -> list[tuple[int, datetime]]:
        return []

    async def check(self) -> None:
        self._fail()

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class NarrowArchive(MemoryRecords):
    """An archive that reads at most so many days at once."""

    def __init__(self, entries: Iterable[Entry] = (), days: int = 30) -> None:
        super().__init__(entries)
        self.days = days

    async def find(
        self, wanted: Filter, span: Span, before: Position | None, limit: int
    ) -> FoundPage:
        if span.end - span.start > timedelta(days=self.days):
            raise RangeTooWideError
        return await super().find(wanted, span, before, limit)


class MemoryArchiveReader:
    """`ports.ArchiveReader`."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = list(entries)
        self.asked: list[Span] = []

    async def read(self, wanted: Filter, span: Span) -> AsyncIterator[Found]:
        self.asked.append(span)
        for e in self.entries:
            if _within(e, span) and wanted.matches(e.terms):
                yield _found(e)


class PlainOpener:
    """Opens records that have nothing personal."""

    async def open_records(self, records: Sequence[bytes]) -> list[Mapping[str, Any]]:
        return [json.loads(record) for record in records]


class MemoryExports:
    """`ports.Exports`."""

    def __init__(self) -> None:
        self.stored: dict[str, Export] = {}
        self.written = asyncio.Event()

    async def create(self, export: Export) -> Export:
        return self.stored.setdefault(export.export_id, export)

    async def get(self, export_id: str) -> Export | None:
        return self.stored.get(export_id)

    async def list(self, limit: int, position: str | None) -> tuple[list[Export], str | None]:
        if position is not None and "#" not in position:
            raise InvalidCursorError
        keyed = sorted(
            ((f"{to_text(e.created_at)}#{e.export_id}", e) for e in self.stored.values()),
            key=lambda pair: pair[0],
            reverse=True,
        )
        rest = [pair for pair in keyed if position is None or pair[0] < position]
        page = rest[:limit]
        return [e for _, e in page], page[-1][0] if len(rest) > limit else None

    async def update(self, export: Export) -> Export:
        if self.stored[export.export_id].version != export.version:
            raise ExportConflictError
        self.written.set()
        self.stored[export.export_id] = replace(export, version=export.version + 1)
        return self.stored[export.export_id]


@dataclass
class MemoryQueue:
    """`ports.ExportQueue`."""

    sent: list[str] = field(default_factory=list)
    failure: Exception | None = None

    async def send(self, export_id: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.sent.append(export_id)


class MemoryFiles:
    """`ports.ExportFiles`."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.links: list[tuple[str, int]] = []

    async def put(self, name: str, path: str) -> int:
        self.stored[name] = await asyncio.to_thread(Path(path).read_bytes)
        return len(self.stored[name])

    async def link(self, name: str, seconds: int) -> str:
        self.links.append((name, seconds))
        return f"https://files.test/{name}?link={len(self.links)}"


def _found(e: Entry) -> Found:
    return Found(Position(e.accepted_at, e.event_id), e.record)


def _within(e: Entry, span: Span) -> bool:
    return span.start <= e.accepted_at < span.end
