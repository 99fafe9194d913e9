"""Dead letters, redrives, replays and figures of the message service in memory."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from functions.messaging.domain.dead_letters import DeadLetter
from functions.messaging.domain.deliveries import KnownConsumer
from functions.messaging.domain.figures import Depth
from functions.messaging.domain.letters import (
    LetterFilter,
    LetterPage,
    ShelvedLetter,
    letter_key,
)
from functions.messaging.domain.queue_errors import QueueUnavailableError
from functions.messaging.domain.redrives import (
    ENDED,
    Leased,
    Redrive,
    RedriveHeldError,
    RedrivePage,
    State,
)
from functions.messaging.domain.replays import ENDED as REPLAY_ENDED
from functions.messaging.domain.replays import Progress, Replay, ReplayPage
from functions.messaging.domain.replays_errors import ArchiveUnavailableError
from servicekit.audit import AuditUnavailableError, JsonObject
from servicekit.clock import Clock
from servicekit.paging import decode_cursor, encode_cursor
from tests.fakes.consuming import Killed

DIED_AT = datetime(2026, 11, 22, 11, 0, tzinfo=UTC)


def letter(event_id: str = "e-1", **fields: Any) -> DeadLetter:
    return DeadLetter(
        **{
            "event_id": event_id,
            "event_type": "card.moved",
            "tenant": "project:42",
            "stream": "kanban-events",
            "consumer": "projectflow-search",
            "error": "search_unavailable",
            "attempts": 3,
            "died_at": DIED_AT,
            "delivery_id": f"delivery-of-{event_id}",
            **fields,
        }
    )


class MemoryLetters:
    """`DeadLetterBox` and `LetterShelf`. `kills` ends the process before a step."""

    def __init__(self) -> None:
        self.shelved: dict[str, dict[str, ShelvedLetter]] = {}
        self.kills: dict[str, int] = {}

    async def add(self, letter: DeadLetter) -> None:
        self._check("add")
        shelf = self.shelved.setdefault(letter.stream, {})
        key = letter_key(letter.event_id, letter.consumer)
        before = shelf.get(key)
        if before is None:
            shelf[key] = ShelvedLetter(letter=letter, first_died_at=letter.died_at)
            return
        if (
            letter.attempts <= before.letter.attempts
            and letter.delivery_id == before.letter.delivery_id
        ):
            return
        shelf[key] = replace(
            before, letter=replace(letter, redrives=before.letter.redrives), state="dead"
        )

    async def page(
        self, stream: str, wanted: LetterFilter, limit: int, cursor: str | None
    ) -> LetterPage:
        query = f"{stream} {wanted}"
        after = int(decode_cursor(cursor, query)) if cursor else 0
        found = [
            one
            for one in self.shelved.get(stream, {}).values()
            if one.state == "dead" and wanted.matches(one.letter)
        ]
        found.sort(key=lambda one: (one.letter.died_at, one.key), reverse=True)
        more = after + limit < len(found)
        return LetterPage(
            found[after : after + limit],
            encode_cursor(str(after + limit), query) if more else None,
        )

    async def walk(self, stream: str, after: str, limit: int) -> list[ShelvedLetter]:
        self._check("walk")
        shelf = self.shelved.get(stream, {})
        return [shelf[key] for key in self._keys(stream) if key > after][:limit]

    def _keys(self, stream: str) -> list[str]:
        return sorted(self.shelved.get(stream, {}))

    async def count(self, stream: str) -> int:
        return sum(one.state == "dead" for one in self.shelved.get(stream, {}).values())

    async def take(self, letter: ShelvedLetter, redrive_id: str) -> bool:
        self._check("take")
        shelf = self.shelved[letter.letter.stream]
        now = shelf[letter.key]
        if now.state != "dead" or now.letter.died_at != letter.letter.died_at:
            return False
        shelf[letter.key] = replace(
            now,
            state="sending",
            redrive_id=redrive_id,
            letter=replace(now.letter, redrives=now.letter.redrives + 1),
        )
        return True

    async def mark_redriven(self, letters: Sequence[ShelvedLetter], redrive_id: str) -> None:
        for one in letters:
            self._check("mark_redriven")
            self._move(one, redrive_id, state="redriven")

    async def put_back(self, letters: Sequence[ShelvedLetter], redrive_id: str) -> None:
        for one in letters:
            if self._move(one, redrive_id, state="dead", redrive_id=None):
                shelf = self.shelved[one.letter.stream]
                now = shelf[one.key]
                back = replace(now.letter, redrives=now.letter.redrives - 1)
                shelf[one.key] = replace(now, letter=back)

    def _move(self, one: ShelvedLetter, mine: str, **changes: Any) -> bool:
        shelf = self.shelved[one.letter.stream]
        now = shelf[one.key]
        if now.state != "sending" or now.redrive_id != mine:
            return False
        shelf[one.key] = replace(now, **changes)
        return True

    def _check(self, step: str) -> None:
        if step in self.kills:
            self.kills[step] -= 1
            if self.kills[step] < 0:
                del self.kills[step]
                raise Killed


class QuickLetters(MemoryLetters):
    """The same for thousands: keys are sorted once."""

    def sort(self) -> None:
        self.sorted = {stream: sorted(shelf) for stream, shelf in self.shelved.items()}

    async def walk(self, stream: str, after: str, limit: int) -> list[ShelvedLetter]:
        from bisect import bisect_right

        keys = self.sorted[stream]
        start = bisect_right(keys, after)
        return [self.shelved[stream][key] for key in keys[start : start + limit]]


class MemoryRedrives:
    """`RedriveStore`."""

    LEASE = timedelta(seconds=120)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.redrives: dict[str, Redrive] = {}
        self.leases: dict[str, tuple[str, datetime]] = {}
        self.kills: dict[str, int] = {}

    async def create(self, redrive: Redrive) -> Redrive | None:
        if redrive.redrive_id in self.redrives:
            return self.redrives[redrive.redrive_id]
        self.redrives[redrive.redrive_id] = redrive
        return None

    async def get(self, redrive_id: str) -> Redrive | None:
        return self.redrives.get(redrive_id)

    async def of_stream(self, stream: str, limit: int, cursor: str | None) -> RedrivePage:
        after = int(decode_cursor(cursor, stream)) if cursor else 0
        found = [one for one in self.redrives.values() if one.stream == stream]
        found.sort(key=lambda one: one.created_at, reverse=True)
        more = after + limit < len(found)
        return RedrivePage(
            found[after : after + limit],
            encode_cursor(str(after + limit), stream) if more else None,
        )

    async def end(self, redrive_id: str, state: State, error: str | None = None) -> Redrive | None:
        found = self.redrives.get(redrive_id)
        if found is None or found.state in ENDED:
            return None
        ended = replace(found, state=state, error=error, finished_at=self._clock())
        self.redrives[redrive_id] = ended
        return ended

    async def lease(self, redrive_id: str) -> Leased | None:
        found = self.redrives.get(redrive_id)
        if found is None or found.state in ENDED:
            return None
        now = self._clock()
        if redrive_id in self.leases and self.leases[redrive_id][1] > now:
            raise RedriveHeldError
        token = uuid.uuid4().hex
        self.leases[redrive_id] = (token, now + self.LEASE)
        running = replace(found, state="running")
        self.redrives[redrive_id] = running
        return Leased(running, token)

    async def advance(self, leased: Leased, redrive: Redrive, *, done: bool) -> bool:
        if "advance" in self.kills:
            self.kills["advance"] -= 1
            if self.kills["advance"] < 0:
                del self.kills["advance"]
                raise Killed
        redrive_id = redrive.redrive_id
        token, _ = self.leases[redrive_id]
        now = self.redrives[redrive_id]
        if token != leased.token or now.state not in {"running", "cancelled"}:
            return False
        self.redrives[redrive_id] = replace(
            now,
            cursor=redrive.cursor,
            sent=redrive.sent,
            failed=redrive.failed,
            state="completed" if done and now.state == "running" else now.state,
        )
        self.leases[redrive_id] = (token, self._clock() + self.LEASE)
        return now.state == "running"

    async def release(self, leased: Leased) -> None:
        self.leases.pop(leased.redrive.redrive_id, None)


class MemoryTasks:
    """`redrives.Tasks`."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.down = False

    async def redrive(self, redrive_id: str) -> None:
        if self.down:
            raise QueueUnavailableError
        self.sent.append(redrive_id)


class MemoryReplays:
    """`ReplayStore`."""

    def __init__(self) -> None:
        self.replays: dict[str, Replay] = {}
        self.reads = 0

    async def create(self, replay: Replay) -> Replay | None:
        if replay.replay_id in self.replays:
            return self.replays[replay.replay_id]
        self.replays[replay.replay_id] = replay
        return None

    async def get(self, replay_id: str) -> Replay | None:
        self.reads += 1
        return self.replays.get(replay_id)

    async def page(self, limit: int, cursor: str | None) -> ReplayPage:
        after = int(decode_cursor(cursor, "replays")) if cursor else 0
        found = sorted(self.replays.values(), key=lambda one: one.created_at, reverse=True)
        more = after + limit < len(found)
        return ReplayPage(
            found[after : after + limit],
            encode_cursor(str(after + limit), "replays") if more else None,
        )

    async def store(self, replay: Replay) -> None:
        if self.replays[replay.replay_id].state not in REPLAY_ENDED:
            self.replays[replay.replay_id] = replay


class MemoryArchive:
    """`replays.Archive`: `states` say how a replay stands."""

    def __init__(self) -> None:
        self.started: list[Replay] = []
        self.cancelled: list[str] = []
        self.states: dict[str, Progress] = {}
        self.down = False

    async def start(self, replay: Replay) -> None:
        if self.down:
            raise ArchiveUnavailableError
        if replay.replay_id not in self.states:
            self.started.append(replay)
            self.states[replay.replay_id] = Progress("starting", None, None)

    async def progress(self, replay_id: str) -> Progress | None:
        return self.states.get(replay_id)

    async def cancel(self, replay_id: str) -> None:
        self.cancelled.append(replay_id)
        self.states[replay_id] = Progress("cancelling", None, None)


class MemoryConsumers:
    """`ConsumerRegistry`."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], KnownConsumer] = {}

    async def seen(self, consumers: Sequence[KnownConsumer]) -> None:
        self.known.update({(one.stream, one.name): one for one in consumers})

    async def all(self) -> list[KnownConsumer]:
        return list(self.known.values())


class MemoryQueues:
    """`figures.Queues`."""

    def __init__(self) -> None:
        self.depths: dict[str, Depth] = {}
        self.waiting: dict[str, int] = {}

    async def depth(self, name: str) -> Depth:
        return self.depths.get(name, Depth(0, 0, 0))

    async def ages(self, names: Sequence[str]) -> Mapping[str, int]:
        return {name: age for name, age in self.waiting.items() if name in names}


class MemoryTrail:
    """`audit.Outbox`: what was recorded."""

    def __init__(self) -> None:
        self.events: list[JsonObject] = []
        self.down = False

    async def append(self, event: JsonObject) -> None:
        if self.down:
            raise AuditUnavailableError
        self.events.append(event)

    @property
    def actions(self) -> list[tuple[str, str]]:
        return [(event["action"], event["metadata"]["outcome"]) for event in self.events]
