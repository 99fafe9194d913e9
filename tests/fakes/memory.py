"""The AI service's ports in memory, for tests that are not about DynamoDB or Bedrock."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from functions.ai.bootstrap import Storage
from functions.ai.domain.errors import (
    ClaimLostError,
    SessionNotActiveError,
    SessionNotFoundError,
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
from servicekit.audit import JsonObject
from servicekit.clock import to_text
from servicekit.idempotency import ClaimUpdate, Record
from servicekit.ids import MAX_INTEGER_ID, IdsExhaustedError
from servicekit.paging import InvalidCursorError
from tests.fakes.memory_money import MemoryMoney


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

    async def create(
        self, session: Session, drafts: Sequence[Draft], settlement: Settlement | None
    ) -> tuple[Session, list[Message]]:
        self._fail()
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
        self._fail()
        return self.sessions.get(session_id)

    async def append(
        self,
        session: Session,
        draft: Draft,
        settlement: Settlement | None,
        *,
        only_active: bool,
    ) -> tuple[Session, Message]:
        self._fail()
        current = self.sessions.get(session.session_id)
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
        current = self.sessions.get(session_id)
        if current is None:
            raise SessionNotFoundError
        fields = dict(changes.fields)
        if "status" in fields:
            fields["completed_at"] = None if fields["status"] == "active" else changes.at
        self.sessions[session_id] = replace(current, **fields, updated_at=changes.at)
        return self.sessions[session_id]

    async def delete(self, session_id: str) -> None:
        if self.sessions.pop(session_id, None) is None:
            raise SessionNotFoundError
        del self.stored[session_id]

    async def list_sessions(
        self, wanted: SessionFilter, limit: int, position: str | None
    ) -> SessionPage:
        if position is not None and "#" not in position:
            raise InvalidCursorError
        found = sorted(
            (
                (f"{to_text(session.created_at)}#{session.session_id}", session)
                for session in self.sessions.values()
                if wanted.project_id in {None, session.project_id}
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
        self._fail()

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


@dataclass
class ScriptedProvider:
    """`ports.ModelProvider` that says what it is told; `None` waits for `go`."""

    drains: ClassVar[bool] = False

    script: list[Sequence[str] | Completion | Exception | None] = field(
        default_factory=lambda: [["Hello"], [" there", "!"], Completion(Usage(100, 20))]
    )
    prompts: list[Prompt] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Said | Completion, None]:
        self.prompts.append(prompt)
        self.asked.set()
        for step in list(self.script):
            if isinstance(step, Exception):
                raise step
            if step is None:
                await self.go.wait()
                self.go.clear()
                continue
            yield step

    async def aclose(self) -> None:
        pass


class Memory:
    """One in-memory database: what a table is to the real adapters."""

    def __init__(self, floor: int = 0) -> None:
        self.records = MemoryRecords()
        self.sessions = MemorySessions(self.records)
        self.counter = MemoryCounter(floor)
        self.outbox = MemoryOutbox()
        self.money = MemoryMoney()

    def storage(self) -> Storage:
        return Storage(
            sessions=self.sessions,
            records=self.records,
            counter=self.counter,
            outbox=self.outbox,
            usage=self.money,
            budgets=self.money,
            close=lambda: None,
        )
