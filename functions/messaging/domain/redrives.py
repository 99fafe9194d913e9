"""Redrives: dead letters of a stream, chosen and sent again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol

from contracts.messaging.streams import ALL_STREAMS
from functions.messaging.domain.audit import Action, Operations
from functions.messaging.domain.letters import (
    LetterFilter,
    LetterPage,
    LetterShelf,
    ShelvedLetter,
    count_alike,
)
from functions.messaging.domain.life import LifeStore, Moment
from functions.messaging.domain.queue_errors import QueueUnavailableError
from functions.messaging.domain.redrives_errors import (
    RedriveEndedError,
    RedriveNotFoundError,
    StreamNotFoundError,
)
from servicekit.clock import Clock, to_text
from servicekit.idempotency import IdempotencyConflictError, fingerprint
from servicekit.ids import new_ulid

State = Literal["queued", "running", "completed", "cancelled", "failed"]
ENDED: frozenset[State] = frozenset({"completed", "cancelled", "failed"})

SAMPLES = 10
"""Letters that a dry run shows."""

HISTORY = 10
"""Attempts that a letter is shown with."""

_WALK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """One redrive. It takes what had died by `created_at`, so that a letter which comes back is not
    sent round for ever. `cursor` is the key of the last letter that it is done with.
    """

    redrive_id: str
    stream: str
    filter: LetterFilter
    rate: int
    requested_by: str
    created_at: datetime
    updated_at: datetime
    fingerprint: str
    state: State = "queued"
    cursor: str = ""
    sent: int = 0
    failed: int = 0
    finished_at: datetime | None = None
    error: str | None = None

    def takes(self, shelved: ShelvedLetter) -> bool:
        """Whether the letter is to be sent by it."""
        return (
            shelved.state == "dead"
            and shelved.redrive_id != self.redrive_id
            and shelved.letter.died_at <= self.created_at
            and self.filter.matches(shelved.letter)
        )

    def began(self, shelved: ShelvedLetter) -> bool:
        """Whether it took the letter before its process died, and may not have sent it."""
        return shelved.redrive_id == self.redrive_id and shelved.state == "sending"

    def sent_before(self, shelved: ShelvedLetter) -> bool:
        """Whether it sent the letter, which may have died again since."""
        return shelved.redrive_id == self.redrive_id and shelved.state != "sending"


@dataclass(frozen=True, slots=True)
class RedrivePage:
    """Redrives, newest first."""

    redrives: Sequence[Redrive]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Leased:
    """A redrive, and the right to work on it."""

    redrive: Redrive
    token: str


class RedriveStore(Protocol):
    """Where redrives are kept. Every method raises `StoreUnavailableError`."""

    async def create(self, redrive: Redrive) -> Redrive | None:
        """Stores it. Returns None, or the one that has the id already."""

    async def get(self, redrive_id: str) -> Redrive | None:
        """The redrive, or None; consistent."""

    async def of_stream(self, stream: str, limit: int, cursor: str | None) -> RedrivePage:
        """A page of them. Raises `InvalidCursorError`."""

    async def end(self, redrive_id: str, state: State, error: str | None = None) -> Redrive | None:
        """Ends one that has not ended; None if it has, or there is none."""

    async def lease(self, redrive_id: str) -> Leased | None:
        """The right to work on it for a while, or None if it has ended or there is none.

        Raises `RedriveHeldError` while another has that right.
        """

    async def advance(self, leased: Leased, redrive: Redrive, *, done: bool) -> bool:
        """Stores how far it came and renews the right; False if it has been lost, or the redrive
        cancelled. `done` ends it as completed.
        """

    async def release(self, leased: Leased) -> None:
        """Gives the right back, as far as it is still there."""


class Tasks(Protocol):
    """The queue of what is done later."""

    async def redrive(self, redrive_id: str) -> None:
        """Has the redrive worked on. Raises `QueueUnavailableError`."""


class RedriveHeldError(Exception):
    """Another process works on the redrive."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a redrive would send."""

    stream: str
    matched: int
    counts: Mapping[tuple[str, str, str], int]
    samples: Sequence[ShownLetter]


@dataclass(frozen=True, slots=True)
class ShownLetter:
    """A letter with the last attempts of its consumer."""

    shelved: ShelvedLetter
    history: Sequence[Moment] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class ShownPage:
    """Letters with their history."""

    letters: Sequence[ShownLetter]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedriveRequest:
    """Who wants which letters sent again. `key` is the Idempotency-Key."""

    stream: str
    filter: LetterFilter
    rate: int
    requested_by: str
    key: str | None

    def fingerprint(self) -> str:
        """Of what is asked for."""
        return fingerprint({"stream": self.stream, "filter": self.chosen(), "rate": self.rate})

    def chosen(self) -> dict[str, str]:
        """What the filter asks for, as text."""
        return {
            name: to_text(value) if isinstance(value, datetime) else value
            for name, value in asdict(self.filter).items()
            if value is not None
        }


class DeadLetterService:
    """Shows the dead letters, and has them sent again."""

    def __init__(
        self,
        shelf: LetterShelf,
        life: LifeStore,
        redrives: RedriveStore,
        tasks: Tasks,
        operations: Operations,
        clock: Clock,
    ) -> None:
        self._shelf = shelf
        self._life = life
        self._redrives = redrives
        self._tasks = tasks
        self._operations = operations
        self._clock = clock

    async def page(
        self, stream: str, wanted: LetterFilter, limit: int, cursor: str | None
    ) -> ShownPage:
        """Letters of the stream. Raises `StreamNotFoundError` and `InvalidCursorError`."""
        require_stream(stream)
        found: LetterPage = await self._shelf.page(stream, wanted, limit, cursor)
        return ShownPage(await self._all_shown(found.letters), found.next_cursor)

    async def preview(self, stream: str, wanted: LetterFilter) -> Preview:
        """What a redrive would send now. Raises `StreamNotFoundError`."""
        require_stream(stream)
        matched = [
            shelved
            async for shelved in self._walk(stream)
            if shelved.state == "dead" and wanted.matches(shelved.letter)
        ]
        samples = await self._all_shown(matched[:SAMPLES])
        return Preview(stream, len(matched), count_alike(matched), samples)

    async def begin(self, request: RedriveRequest) -> Redrive:
        """Has the letters sent. Under the same key it is the same redrive.

        Raises `StreamNotFoundError`, `IdempotencyConflictError`, `AuditUnavailableError` and
        `QueueUnavailableError`.
        """
        require_stream(request.stream)
        now = self._clock()
        redrive = Redrive(
            redrive_id=_redrive_id(request),
            stream=request.stream,
            filter=request.filter,
            rate=request.rate,
            requested_by=request.requested_by,
            created_at=now,
            updated_at=now,
            fingerprint=request.fingerprint(),
        )
        await self._operations.allow(
            Action.CREATE_REDRIVE,
            f"messaging/streams/{request.stream}",
            {"redrive_id": redrive.redrive_id, "rate": request.rate, "filter": request.chosen()},
        )
        before = await self._redrives.create(redrive)
        if before is not None:
            if before.fingerprint != redrive.fingerprint:
                raise IdempotencyConflictError
            if before.state != "queued":
                return before
            redrive = before
        try:
            await self._tasks.redrive(redrive.redrive_id)
        except QueueUnavailableError as error:
            if request.key is None:
                # Nobody can ask for this one again.
                await self._redrives.end(redrive.redrive_id, "failed", error.code)
            raise
        return redrive

    async def get(self, redrive_id: str) -> Redrive:
        """The redrive. Raises `RedriveNotFoundError`."""
        found = await self._redrives.get(redrive_id)
        if found is None:
            raise RedriveNotFoundError
        return found

    async def of_stream(self, stream: str, limit: int, cursor: str | None) -> RedrivePage:
        """A stream's redrives. Raises `StreamNotFoundError` and `InvalidCursorError`."""
        require_stream(stream)
        return await self._redrives.of_stream(stream, limit, cursor)

    async def cancel(self, redrive_id: str) -> Redrive:
        """Ends it; what was sent stays sent. Raises `RedriveNotFoundError`, `RedriveEndedError`."""
        found = await self.get(redrive_id)
        resource = f"messaging/redrives/{redrive_id}"
        if found.state == "cancelled":
            return found
        if found.state in ENDED:
            raise await self._operations.deny(Action.CANCEL_REDRIVE, resource, RedriveEndedError())
        await self._operations.allow(Action.CANCEL_REDRIVE, resource, {"stream": found.stream})
        ended = await self._redrives.end(redrive_id, "cancelled")
        if ended is None:
            raise RedriveEndedError
        return ended

    async def _walk(self, stream: str) -> AsyncIterator[ShelvedLetter]:
        after = ""
        while letters := await self._shelf.walk(stream, after, _WALK):
            for shelved in letters:
                yield shelved
            after = letters[-1].key

    async def _all_shown(self, letters: Sequence[ShelvedLetter]) -> list[ShownLetter]:
        return await asyncio.gather(*(self._shown(shelved) for shelved in letters))

    async def _shown(self, shelved: ShelvedLetter) -> ShownLetter:
        letter = shelved.letter
        told = [
            moment
            for moment in await self._life.of(letter.event_id)
            if moment.consumer == letter.consumer
            and moment.kind in {"attempted", "webhook_attempted"}
        ]
        return ShownLetter(shelved, told[-HISTORY:])


def require_stream(stream: str) -> None:
    """Raises `StreamNotFoundError`."""
    if stream not in ALL_STREAMS:
        raise StreamNotFoundError


def _redrive_id(request: RedriveRequest) -> str:
    """The same for each request under one key of one caller."""
    if request.key is None:
        return new_ulid()
    named = f"redrive\n{request.requested_by}\n{request.key}"
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def advanced(redrive: Redrive, *, cursor: str, sent: int, failed: int, at: datetime) -> Redrive:
    """The redrive, after a few letters more."""
    return replace(
        redrive,
        state="running",
        cursor=cursor,
        sent=redrive.sent + sent,
        failed=redrive.failed + failed,
        updated_at=at,
    )
