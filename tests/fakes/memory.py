"""The AI service's ports in memory, for tests that are not about DynamoDB or Bedrock."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from functions.ai.bootstrap import Storage
from functions.ai.domain.errors import (
    ClaimLostError,
    HoldsExpiredError,
    SessionNotActiveError,
    SessionNotFoundError,
    SessionOccupiedError,
    TurnLostError,
)
from functions.ai.domain.inference import Completion, Prompt, Said, Usage
from functions.ai.domain.models import (
    Draft,
    Message,
    Session,
    SessionChanges,
    SessionFilter,
    SessionPage,
)
from functions.ai.domain.ports import Settlement
from functions.ai.domain.turns import Bill, Ending, Numbered, Signal, Turn
from servicekit.audit import JsonObject
from servicekit.clock import to_text
from servicekit.idempotency import ClaimUpdate, Record
from servicekit.ids import MAX_INTEGER_ID, IdsExhaustedError
from servicekit.paging import InvalidCursorError
from tests.fakes.memory_content import MemoryContent
from tests.fakes.memory_money import MemoryMoney
from tests.fakes.memory_routing import MemoryRouting
from tests.fakes.memory_summaries import MemorySummaries


class MemoryCounter:
    """`ids.Counter`."""

    def __init__(self, floor: int = 0) -> None:
        self._floor = floor
        self.last: dict[str, int] = {}
        self.draws = 0

    async def draw(self, name: str, size: int) -> int:
        last = self.last.get(name, self._floor)
        if last + size > MAX_INTEGER_ID:
            raise IdsExhaustedError
        self.draws += 1
        self.last[name] = last + size
        return last + 1


class MemoryRecords:
    """`idempotency.RecordStore`."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}

    async def create(self, record: Record, now: int) -> Record | None:
        found = self.records.get(record.key)
        if found is not None and found.expires_at > now:
            return found
        self.records[record.key] = record
        return None

    async def retake(self, record: Record, previous_token: str) -> Record | None:
        found = self._running(record.key, previous_token)
        if found is None:
            return None
        if found.reference is not None and found.fingerprint != record.fingerprint:
            return None
        self.records[record.key] = replace(record, reference=found.reference)
        return self.records[record.key]

    async def extend(self, key: str, token: str, lease_expires_at: int) -> bool:
        found = self._running(key, token)
        if found is None:
            return False
        self.records[key] = replace(found, lease_expires_at=lease_expires_at)
        return True

    def settle(self, update: ClaimUpdate) -> None:
        claimed = update.claim.record
        found = self._running(claimed.key, claimed.token)
        if found is None:
            raise ClaimLostError(retry_after=1)
        self.records[claimed.key] = replace(
            found, reference=dict(update.reference), completed=update.completed
        )

    def _running(self, key: str, token: str) -> Record | None:
        found = self.records.get(key)
        return found if found and not found.completed and found.token == token else None


class MemoryOutbox:
    """`audit.Outbox`."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.failure: Exception | None = None

    async def append(self, event: JsonObject) -> None:
        if self.failure is not None:
            raise self.failure
        self.events.append(dict(event))


class MemorySessions:
    """`ports.SessionStore`."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records
        self.sessions: dict[str, Session] = {}
        self.stored: dict[str, list[Message]] = {}
        self.failure: Exception | None = None
        self.hidden: set[str] = set()
        self.forget_turn: Callable[[str], None] = lambda _: None
        self.forget_summary: Callable[[str], None] = lambda _: None

    async def create(
        self, session: Session, drafts: Sequence[Draft], settlement: Settlement | None
    ) -> tuple[Session, list[Message]]:
        self.fail()
        messages = [
            Message(session.session_id, session.number, 1 + index, draft)
            for index, draft in enumerate(drafts)
        ]
        if settlement:
            self._records.settle(settlement(messages))
        stored = replace(session, next_sequence=1 + len(messages))
        self.sessions[session.session_id] = stored
        self.stored[session.session_id] = messages
        return stored, list(messages)

    async def get(self, session_id: str, *, even_deleted: bool = False) -> Session | None:
        self.fail()
        if session_id in self.hidden and not even_deleted:
            return None
        return self.sessions.get(session_id)

    async def append(
        self,
        session: Session,
        draft: Draft,
        settlement: Settlement | None,
        *,
        only_active: bool,
    ) -> tuple[Session, Message]:
        self.fail()
        current = await self.get(session.session_id)
        if current is None:
            raise SessionNotFoundError
        if only_active and current.status != "active":
            raise SessionNotActiveError
        message = Message(current.session_id, current.number, current.next_sequence, draft)
        if settlement:
            self._records.settle(settlement([message]))
        moved = replace(current, next_sequence=message.sequence + 1, updated_at=draft.created_at)
        self.sessions[session.session_id] = moved
        self.stored[session.session_id].append(message)
        return moved, message

    async def change(self, session_id: str, changes: SessionChanges) -> Session:
        current = await self.get(session_id)
        if current is None:
            raise SessionNotFoundError
        fields = dict(changes.fields)
        if "status" in fields:
            fields["completed_at"] = None if fields["status"] == "active" else changes.at
        self.sessions[session_id] = replace(current, **fields, updated_at=changes.at)
        return self.sessions[session_id]

    async def hide(self, session_id: str) -> None:
        if session_id not in self.sessions:
            raise SessionNotFoundError
        self.hidden.add(session_id)

    async def delete(self, session_id: str) -> None:
        if self.sessions.pop(session_id, None) is None:
            raise SessionNotFoundError
        messages = self.stored.pop(session_id)
        for turn_id in [m.draft.turn_id for m in messages if m.draft.turn_id]:
            self.forget_turn(turn_id)
        self.forget_summary(session_id)

    async def list_sessions(
        self, wanted: SessionFilter, limit: int, position: str | None
    ) -> SessionPage:
        if position is not None and "#" not in position:
            raise InvalidCursorError
        found = sorted(
            (
                (f"{to_text(session.created_at)}#{session.session_id}", session)
                for session in self.sessions.values()
                if session.session_id not in self.hidden
                and wanted.project_id in {None, session.project_id}
                and wanted.user_id in {None, session.user_id}
            ),
            key=lambda pair: pair[0],
            reverse=True,
        )
        rest = [pair for pair in found if position is None or pair[0] < position]
        page = rest[:limit]
        return SessionPage(
            [session for _, session in page], page[-1][0] if len(rest) > limit else None
        )

    async def messages(
        self,
        session: Session,
        *,
        after: int = 0,
        up_to: int | None = None,
        newest_first: bool = False,
        page_size: int | None = None,
    ) -> AsyncIterator[Message]:
        found = [
            message
            for message in self.stored.get(session.session_id, [])
            if message.sequence > after and (up_to is None or message.sequence <= up_to)
        ]
        for message in reversed(found) if newest_first else found:
            yield message

    async def check(self) -> None:
        self.fail()

    def fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class MemoryTurns:
    """`ports.TurnStore`."""

    def __init__(
        self, sessions: MemorySessions, records: MemoryRecords, money: MemoryMoney
    ) -> None:
        self._money = money
        self._sessions = sessions
        self._records = records
        self.turns: dict[str, Turn] = {}
        self.stored: dict[str, list[Numbered]] = {}
        self.writes: list[list[Numbered]] = []
        self.failure: Exception | None = None
        sessions.forget_turn = self._forget

    async def begin(
        self,
        session: Session,
        drafts: Sequence[Draft],
        turn: Turn,
        settlement: Settlement | None,
        *,
        new: bool,
    ) -> tuple[Session, list[Message]]:
        self._sessions.fail()
        current = session if new else self._free(session.session_id, turn)
        messages = [
            Message(current.session_id, current.number, current.next_sequence + n, draft)
            for n, draft in enumerate(drafts)
        ]
        if settlement:
            self._records.settle(settlement(messages))
        moved = replace(
            current,
            next_sequence=current.next_sequence + len(messages),
            updated_at=None if new else turn.created_at,
            turn_id=turn.turn_id,
        )
        self._sessions.sessions[moved.session_id] = moved
        self._sessions.stored.setdefault(moved.session_id, []).extend(messages)
        self.turns[turn.turn_id] = replace(turn, question=messages[-1].sequence)
        self.stored[turn.turn_id] = []
        return moved, messages

    async def get(self, turn_id: str) -> Turn | None:
        self._fail()
        return self.turns.get(turn_id)

    async def retry(self, turn: Turn, again: Turn, bill: Bill | None = None) -> None:
        self._mine(turn)
        if self.turns[turn.turn_id].lease_expires_at != turn.lease_expires_at:
            raise TurnLostError
        session = self._free(turn.session_id, turn)
        self._charge(bill)
        self._sessions.sessions[session.session_id] = replace(session, turn_id=turn.turn_id)
        self.turns[turn.turn_id] = again

    async def add_events(self, turn: Turn, events: Sequence[Numbered]) -> None:
        self._fail()
        self.writes.append(list(events))
        self._keep(turn.turn_id, events)

    async def events(self, turn_id: str, after: int) -> Sequence[Numbered]:
        self._fail()
        return [event for event in self.stored.get(turn_id, []) if event.sequence > after]

    async def watch(self, turn: Turn, lease_expires_at: int | None) -> Signal:
        self._fail()
        found = self.turns.get(turn.turn_id)
        if found is None or (found.attempt, found.status) != (turn.attempt, turn.status):
            return "lost"
        if lease_expires_at is not None:
            self.turns[turn.turn_id] = replace(found, lease_expires_at=lease_expires_at)
        return "cancel" if found.cancelling else "go"

    async def cancel(self, turn_id: str, at: datetime) -> Turn | None:
        found = self.turns.get(turn_id)
        if found is not None and found.status == "running":
            found = self.turns[turn_id] = replace(found, cancelling=True, updated_at=at)
        return found

    async def postpone(
        self, turn: Turn, later: Turn, events: Sequence[Numbered], bill: Bill
    ) -> bool:
        self._fail()
        self._mine(turn)
        if self.turns[turn.turn_id].cancelling:
            return False
        self._charge(bill)
        self.turns[turn.turn_id] = later
        self._keep(turn.turn_id, events)
        return True

    async def conclude(self, turn: Turn, ending: Ending) -> tuple[Turn, Message | None]:
        self._sessions.fail()
        session = self._sessions.sessions.get(turn.session_id)
        if session is None:
            raise SessionNotFoundError
        self._mine(turn)
        self._charge(ending.bill)
        message = None
        place = session.next_sequence
        if ending.draft is not None:
            message = Message(session.session_id, session.number, place, ending.draft)
            self._sessions.stored[session.session_id].append(message)
            place += 1
        self._sessions.sessions[session.session_id] = replace(
            session, next_sequence=place, updated_at=ending.at, turn_id=None
        )
        ended = turn.concluded(ending, message)
        self.turns[turn.turn_id] = ended
        self._keep(turn.turn_id, ending.events)
        return ended, message

    async def account(self, turn: Turn, bill: Bill) -> Turn:
        self._mine(turn)
        self._charge(bill)
        self.turns[turn.turn_id] = turn.billed(bill)
        for place, message in enumerate(self._sessions.stored.get(turn.session_id, [])):
            if message.sequence == turn.answer:
                tokens = bill.usage.total if bill.usage else None
                draft = replace(message.draft, tokens_used=tokens, cost=bill.cost)
                self._sessions.stored[turn.session_id][place] = replace(message, draft=draft)
        return self.turns[turn.turn_id]

    def _charge(self, bill: Bill | None) -> None:
        if bill is not None and not self._money.pay(bill):
            raise HoldsExpiredError

    def _forget(self, turn_id: str) -> None:
        self.turns.pop(turn_id, None)
        self.stored.pop(turn_id, None)

    def _free(self, session_id: str, turn: Turn) -> Session:
        session = self._sessions.sessions.get(session_id)
        if session is None or session_id in self._sessions.hidden:
            raise SessionNotFoundError
        if session.status != "active":
            raise SessionNotActiveError
        if session.turn_id not in {None, turn.turn_id}:
            raise SessionOccupiedError(str(session.turn_id))
        return session

    def _mine(self, turn: Turn) -> None:
        found = self.turns.get(turn.turn_id)
        if found is None or (found.attempt, found.status) != (turn.attempt, turn.status):
            raise TurnLostError

    def _keep(self, turn_id: str, events: Sequence[Numbered]) -> None:
        known = {event.sequence: event for event in self.stored[turn_id]}
        known |= {event.sequence: event for event in events}
        self.stored[turn_id] = [known[sequence] for sequence in sorted(known)]

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class MemoryUpkeep:
    """`upkeep_ports.UpkeepStore`."""

    def __init__(self, sessions: MemorySessions, turns: MemoryTurns) -> None:
        self._sessions = sessions
        self._turns = turns
        self._since: dict[tuple[str, int], datetime] = {}

    async def unused_since(self, day: date | None) -> AsyncIterator[Sequence[str]]:
        self._sessions.fail()
        for session_id in list(self._sessions.sessions):
            if self._goes(session_id, day):
                yield [session_id]

    async def hide_unused(self, session_id: str, day: date | None) -> Session | None:
        self._sessions.fail()
        if not self._goes(session_id, day):
            return None
        self._sessions.hidden.add(session_id)
        return self._sessions.sessions[session_id]

    def _goes(self, session_id: str, day: date | None) -> bool:
        session = self._sessions.sessions.get(session_id)
        if session is None:
            return False
        return session_id in self._sessions.hidden or bool(day and session.used_on < day)

    async def queued_before(self, at: datetime) -> AsyncIterator[Sequence[str]]:
        self._sessions.fail()
        queued = [t for t in self._turns.turns.values() if t.status == "queued"]
        late = [t.turn_id for t in queued if self._queued_at(t) < at]
        if late:
            yield late

    async def put_off(self, turn: Turn, at: datetime) -> None:
        self._since[turn.turn_id, turn.attempt] = at

    def _queued_at(self, turn: Turn) -> datetime:
        return self._since.get((turn.turn_id, turn.attempt), turn.updated_at)


@dataclass
class ScriptedProvider:
    """`ports.ModelProvider` that says what it is told; `None` waits for `go`."""

    script: list[Sequence[str] | Completion | Exception | None] = field(
        default_factory=lambda: [["Hello"], [" there", "!"], Completion(Usage(100, 20))]
    )
    prompts: list[Prompt] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    drains: bool = False
    broken_off: int = 0

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Said | Completion, None]:
        self.prompts.append(prompt)
        self.asked.set()
        try:
            for step in list(self.script):
                if isinstance(step, Exception):
                    raise step
                if step is None:
                    await self.go.wait()
                    self.go.clear()
                    continue
                yield step
        except (asyncio.CancelledError, GeneratorExit):
            self.broken_off += 1
            raise

    async def aclose(self) -> None:
        pass


class Memory:
    """One in-memory database: what a table is to the real adapters."""

    def __init__(self, floor: int = 0) -> None:
        self.records = MemoryRecords()
        self.sessions = MemorySessions(self.records)
        self.money = MemoryMoney()
        self.routing = MemoryRouting()
        self.turns = MemoryTurns(self.sessions, self.records, self.money)
        self.summaries = MemorySummaries(self.sessions, self.money)
        self.counter = MemoryCounter(floor)
        self.outbox = MemoryOutbox()
        self.content = MemoryContent("santaclaude-content")

    def storage(self) -> Storage:
        return Storage(
            sessions=self.sessions,
            turns=self.turns,
            summaries=self.summaries,
            records=self.records,
            counter=self.counter,
            outbox=self.outbox,
            usage=self.money,
            budgets=self.money,
            policies=self.routing,
            circuits=self.routing,
            content=self.content,
            upkeep=MemoryUpkeep(self.sessions, self.turns),
            close=lambda: None,
        )
