"""Replays: events that come out of the archive again, for one stream."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from functions.messaging.domain.audit import Action, Operations
from functions.messaging.domain.redrives import require_stream
from functions.messaging.domain.replays_errors import (
    ArchiveUnavailableError,
    ReplayEndedError,
    ReplayNotFoundError,
    ReplayRangeError,
)
from servicekit.bus_event import BusEvent
from servicekit.clock import Clock, to_text
from servicekit.idempotency import IdempotencyConflictError, fingerprint
from servicekit.ids import new_ulid

State = Literal["starting", "running", "completed", "cancelling", "cancelled", "failed"]
ENDED: frozenset[State] = frozenset({"completed", "cancelled", "failed"})

ID_PREFIX = "replay-"
"""Of every replay's id, which is its name at EventBridge too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A replay. `types` None stands for all of the stream's; `replayed_until` is the time of the
    last event that came.
    """

    replay_id: str
    stream: str
    types: Sequence[str] | None
    start: datetime
    end: datetime
    requested_by: str
    created_at: datetime
    fingerprint: str
    state: State = "starting"
    replayed_until: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayPage:
    """Replays, newest first."""

    replays: Sequence[Replay]
    next_cursor: str | None


class ReplayStore(Protocol):
    """Where replays are kept. Every method raises `StoreUnavailableError`."""

    async def create(self, replay: Replay) -> Replay | None:
        """Stores it. Returns None, or the one that has the id already."""

    async def get(self, replay_id: str) -> Replay | None:
        """The replay, or None; consistent."""

    async def page(self, limit: int, cursor: str | None) -> ReplayPage:
        """A page of them. Raises `InvalidCursorError`."""

    async def store(self, replay: Replay) -> None:
        """How it stands now, unless it has ended."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How a replay stands at the archive."""

    state: State
    replayed_until: datetime | None
    finished_at: datetime | None


class Archive(Protocol):
    """The archive of the bus. Every method raises `ArchiveUnavailableError`."""

    async def start(self, replay: Replay) -> None:
        """Begins it, unless it has begun."""

    async def progress(self, replay_id: str) -> Progress | None:
        """How it stands, or None if it never began, or is forgotten."""

    async def cancel(self, replay_id: str) -> None:
        """Ends it, unless it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """Who wants what again. `key` is the Idempotency-Key."""

    stream: str
    types: Sequence[str] | None
    start: datetime
    end: datetime
    requested_by: str
    key: str | None

    def fingerprint(self) -> str:
        """Of what is asked for."""
        return fingerprint(
            {
                "stream": self.stream,
                "types": sorted(self.types) if self.types else None,
                "start": to_text(self.start),
                "end": to_text(self.end),
            }
        )


class ReplayService:
    """Begins, follows and ends replays."""

    def __init__(
        self,
        replays: ReplayStore,
        archive: Archive,
        operations: Operations,
        clock: Clock,
        kept: timedelta,
    ) -> None:
        self._replays = replays
        self._archive = archive
        self._operations = operations
        self._clock = clock
        self._kept = kept

    async def begin(self, request: ReplayRequest) -> Replay:
        """Begins a replay. Under the same key it is the same one.

        Raises `StreamNotFoundError`, `ReplayRangeError`, `IdempotencyConflictError`,
        `AuditUnavailableError` and `ArchiveUnavailableError`.
        """
        require_stream(request.stream)
        now = self._clock()
        resource = f"messaging/streams/{request.stream}"
        wanted = Replay(
            replay_id=_replay_id(request),
            stream=request.stream,
            types=request.types,
            start=request.start,
            end=request.end,
            requested_by=request.requested_by,
            created_at=now,
            fingerprint=request.fingerprint(),
        )
        before = await self._replays.get(wanted.replay_id) if request.key else None
        if before is None:
            refusal = self._refusal(request, now)
            if refusal is not None:
                raise await self._operations.deny(Action.CREATE_REPLAY, resource, refusal)
        await self._operations.allow(
            Action.CREATE_REPLAY,
            resource,
            {
                "replay_id": wanted.replay_id,
                "from": to_text(wanted.start),
                "to": to_text(wanted.end),
            },
        )
        before = before or await self._replays.create(wanted)
        if before is not None:
            if before.fingerprint != wanted.fingerprint:
                raise IdempotencyConflictError
            if before.state != "starting":
                return before
            wanted = before
        # Only now: consumers look the replay up to know whether its events are theirs.
        try:
            await self._archive.start(wanted)
        except ArchiveUnavailableError as error:
            if request.key is None:
                failed = replace(wanted, state="failed", error=error.code, finished_at=now)
                await self._replays.store(failed)
            raise
        return wanted

    async def get(self, replay_id: str) -> Replay:
        """The replay, as it stands. Raises `ReplayNotFoundError`, `ArchiveUnavailableError`."""
        found = await self._replays.get(replay_id)
        if found is None:
            raise ReplayNotFoundError
        return await self._now(found)

    async def page(self, limit: int, cursor: str | None) -> ReplayPage:
        """Replays, as they stand. Raises `InvalidCursorError` and `ArchiveUnavailableError`."""
        page = await self._replays.page(limit, cursor)
        current = await asyncio.gather(*(self._now(replay) for replay in page.replays))
        return ReplayPage(current, page.next_cursor)

    async def cancel(self, replay_id: str) -> Replay:
        """Ends it; what came, came. Raises `ReplayNotFoundError` and `ReplayEndedError`."""
        found = await self.get(replay_id)
        resource = f"messaging/replays/{replay_id}"
        if found.state in {"cancelling", "cancelled"}:
            return found
        if found.state in ENDED:
            raise await self._operations.deny(Action.CANCEL_REPLAY, resource, ReplayEndedError())
        await self._operations.allow(Action.CANCEL_REPLAY, resource, {"stream": found.stream})
        await self._archive.cancel(replay_id)
        return await self._now(found)

    def _refusal(self, request: ReplayRequest, now: datetime) -> ReplayRangeError | None:
        if request.start >= request.end:
            return ReplayRangeError("`from` is before `to`.")
        if request.end > now:
            return ReplayRangeError("`to` is not in the future.")
        if request.start < now - self._kept:
            return ReplayRangeError(f"The archive keeps events for {self._kept.days} days.")
        return None

    async def _now(self, replay: Replay) -> Replay:
        if replay.state in ENDED:
            return replay
        progress = await self._archive.progress(replay.replay_id)
        if progress is None:
            return replay
        current = replace(
            replay,
            state=progress.state,
            replayed_until=progress.replayed_until or replay.replayed_until,
            finished_at=progress.finished_at if progress.state in ENDED else None,
        )
        if current != replay:
            await self._replays.store(current)
        return current


class StreamReplays:
    """`consumption.ReplayFilter` of the streams: EventBridge knows the stream that a replay is for,
    and no types; not every emulator knows the stream.
    """

    def __init__(self, replays: ReplayStore) -> None:
        self._replays = replays
        self._known: dict[str, Replay] = {}

    async def wants(self, event: BusEvent, consumer: str) -> bool:
        """See `consumption.ReplayFilter`. Raises `StoreUnavailableError`."""
        replay_id = event.replay_id or ""
        replay = self._known.get(replay_id) or await self._replays.get(replay_id)
        if replay is None:
            # Somebody else's: this service keeps a record of each before it begins.
            return False
        self._known[replay_id] = replay
        return replay.stream == consumer and (
            replay.types is None or event.event_type in replay.types
        )


def _replay_id(request: ReplayRequest) -> str:
    """The same for each request under one key of one caller; at most 64 of EventBridge's
    characters.
    """
    if request.key is None:
        return f"{ID_PREFIX}{new_ulid()}"
    named = f"replay\n{request.requested_by}\n{request.key}"
    return f"{ID_PREFIX}{hashlib.sha256(named.encode()).hexdigest()[:32]}"
