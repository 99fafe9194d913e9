"""Sessions and their messages, without any model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from functions.ai.domain.audit import Action, Operations, Subject
from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.erasure import erase
from functions.ai.domain.errors import SessionNotActiveError, SessionNotFoundError
from functions.ai.domain.models import (
    Draft,
    Message,
    Role,
    Session,
    SessionChanges,
    SessionFilter,
    ToolData,
)
from functions.ai.domain.ports import ContentStore, SessionStore, Settlement
from servicekit.clock import Clock
from servicekit.idempotency import Claim, ClaimUpdate, Idempotency, Reference, Request
from servicekit.ids import IntegerIds, new_uuid7
from servicekit.paging import InvalidCursorError, decode_cursor, encode_cursor

_ENVELOPE_BYTES = 400


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to start, with its first messages as far as they are not empty."""

    project_id: int
    user_id: int
    card_id: int | None
    provider: str
    model: str
    initial_message: str
    system_prompt: str | None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to store as it is."""

    role: Role
    content: str
    tool_calls: ToolData | None
    tool_results: ToolData | None


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session with its newest messages, oldest first; `truncated` when there are older ones."""

    session: Session
    messages: Sequence[Message]
    truncated: bool


@dataclass(frozen=True, slots=True)
class CursorPage:
    """One page with the cursor of the next, None at the end."""

    items: Sequence[Any]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Numbers:
    """The integer ids of the v1 wire."""

    sessions: IntegerIds
    messages: IntegerIds


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """Of the messages in one answer: how many a session has with it, and bytes of any answer."""

    messages_of_session: int
    size: int


class SessionService:
    """What callers do with sessions. All of it is recorded before it is done, refusals included:
    every call raises `AuditUnavailableError` when it cannot be.
    """

    def __init__(
        self,
        store: SessionStore,
        content: ContentStore,
        numbers: Numbers,
        catalogue: Catalogue,
        idempotency: Idempotency,
        clock: Clock,
        limits: AnswerLimits,
        operations: Operations,
    ) -> None:
        self._store = store
        self._content = content
        self._numbers = numbers
        self._catalogue = catalogue
        self._idempotency = idempotency
        self._clock = clock
        self._limits = limits
        self._operations = operations

    async def create(self, wanted: NewSession, request: Request | None) -> SessionView:
        """Starts a session; calls no model.

        Raises `UnknownProviderError`, `UnknownModelError` and the errors of idempotency.
        """
        model = self._catalogue.find(wanted.provider, wanted.model)

        async def work(claim: Claim | None) -> SessionView:
            session = await self.blank(
                wanted.project_id, wanted.user_id, wanted.card_id, model.provider.name, model.name
            )
            texts: list[tuple[Role, str | None]] = [
                ("system", wanted.system_prompt),
                ("user", wanted.initial_message),
            ]
            drafts = [await self.draft(role, text) for role, text in texts if text]
            await self._operations.allow(
                Action.CREATE_SESSION, Subject.session(session), model.facts
            )
            settlement = _settled(
                claim, lambda made: {"session_id": session.session_id, "messages": len(made)}
            )
            stored, messages = await self._store.create(session, drafts, settlement)
            return SessionView(stored, messages, truncated=False)

        async def replay(reference: Reference) -> SessionView:
            session = await self._known(Action.CREATE_SESSION, reference["session_id"])
            view = self._view(session, up_to=reference["messages"])
            subject = Subject.session(session)
            return await self._operations.allow_with(Action.CREATE_SESSION, subject, view)

        return await self._idempotency.once(request, work, replay)

    async def get(self, session_id: str) -> SessionView:
        """A session with its newest messages. Raises `SessionNotFoundError`."""
        session = await self._known(Action.READ_SESSION, session_id)
        subject = Subject.session(session)
        return await self._operations.allow_with(Action.READ_SESSION, subject, self._view(session))

    async def list_sessions(
        self, wanted: SessionFilter, limit: int, cursor: str | None
    ) -> CursorPage:
        """Sessions, newest first. Raises `InvalidCursorError`."""
        query = f"sessions {json.dumps(asdict(wanted))}"
        position = decode_cursor(cursor, query) if cursor else None
        page = await self._operations.allow_with(
            Action.LIST_SESSIONS,
            Subject.listing(wanted),
            self._store.list_sessions(wanted, limit, position),
        )
        after = page.next_position
        return CursorPage(page.sessions, encode_cursor(after, query) if after else None)

    async def update(self, session_id: str, fields: Mapping[str, Any]) -> SessionView:
        """Overwrites status, context or card_id. Raises `SessionNotFoundError`."""
        session = await self._known(Action.UPDATE_SESSION, session_id)
        await self._operations.allow(
            Action.UPDATE_SESSION, Subject.session(session), {"fields": sorted(fields)}
        )
        changes = SessionChanges(fields, self._clock())
        return await self._view(await self._store.change(session_id, changes))

    async def delete(self, session_id: str) -> None:
        """Removes a session with its messages and their images.

        After a failure it is invisible, and a repetition removes the rest, or `session_sweep`.
        Raises `SessionNotFoundError` and `StoreUnavailableError`.
        """
        session = await self._known(Action.DELETE_SESSION, session_id, even_deleted=True)
        await self._operations.allow(Action.DELETE_SESSION, Subject.session(session))
        await self._store.hide(session_id)
        await erase(session, self._store, self._content)

    async def add_message(
        self, session_id: str, wanted: NewMessage, request: Request | None
    ) -> Message:
        """Stores a message; calls no model.

        Raises `SessionNotFoundError`, `SessionNotActiveError` and the errors of idempotency.
        """

        async def work(claim: Claim | None) -> Message:
            session = await self._known(Action.ADD_MESSAGE, session_id)
            subject = Subject.session(session)
            if error := not_active(session):
                raise await self._operations.deny(Action.ADD_MESSAGE, subject, error)
            draft = await self.draft(
                wanted.role,
                wanted.content,
                tool_calls=wanted.tool_calls,
                tool_results=wanted.tool_results,
            )
            await self._operations.allow(Action.ADD_MESSAGE, subject, {"role": wanted.role})
            settlement = _settled(claim, lambda made: {"sequence": made[0].sequence})
            _, message = await self._store.append(session, draft, settlement, only_active=True)
            return message

        async def replay(reference: Reference) -> Message:
            session = await self._known(Action.ADD_MESSAGE, session_id)
            message = self.message(session, reference["sequence"])
            subject = Subject.session(session)
            return await self._operations.allow_with(Action.ADD_MESSAGE, subject, message)

        return await self._idempotency.once(request, work, replay)

    async def messages(self, session_id: str, limit: int, cursor: str | None) -> CursorPage:
        """A session's messages, oldest first. Raises `SessionNotFoundError`, `InvalidCursorError`.

        A page ends early where its messages fill the answer.
        """
        query = f"messages {session_id}"
        after = _sequence(decode_cursor(cursor, query)) if cursor else 0
        session = await self._known(Action.LIST_MESSAGES, session_id)
        found = self._store.messages(session, after=after, page_size=limit + 1)
        page, more = await self._operations.allow_with(
            Action.LIST_MESSAGES, Subject.session(session), self._fitting(found, limit)
        )
        next_cursor = encode_cursor(str(page[-1].sequence), query) if more else None
        return CursorPage(page, next_cursor)

    async def message(self, session: Session, sequence: int) -> Message:
        """One message. Raises `SessionNotFoundError` when it is gone."""
        found = self._store.messages(session, after=sequence - 1, up_to=sequence, page_size=1)
        async for message in found:
            return message
        raise SessionNotFoundError

    async def blank(
        self, project_id: int, user_id: int, card_id: int | None, provider: str, model: str
    ) -> Session:
        """A new session that is not stored yet."""
        return Session(
            session_id=new_uuid7(),
            number=await self._numbers.sessions.draw(),
            project_id=project_id,
            user_id=user_id,
            card_id=card_id,
            provider=provider,
            model=model,
            status="active",
            context={},
            created_at=self._clock(),
        )

    async def draft(self, role: Role, content: str, **fields: Any) -> Draft:
        """A message that is not stored yet."""
        number = await self._numbers.messages.draw()
        return Draft(number, role, content, self._clock(), **fields)

    async def _known(
        self, action: Action, session_id: str, *, even_deleted: bool = False
    ) -> Session:
        """The session that `action` needs. Raises `SessionNotFoundError`, which is recorded."""
        session = await self._store.get(session_id, even_deleted=even_deleted)
        if session is None:
            subject = Subject.named(session_id)
            raise await self._operations.deny(action, subject, SessionNotFoundError())
        return session

    async def _view(self, session: Session, up_to: int | None = None) -> SessionView:
        limit = self._limits.messages_of_session
        newest = self._store.messages(session, up_to=up_to, newest_first=True, page_size=limit + 1)
        messages, truncated = await self._fitting(newest, limit)
        return SessionView(session, messages[::-1], truncated)

    async def _fitting(
        self, found: AsyncIterator[Message], limit: int
    ) -> tuple[list[Message], bool]:
        fitting: list[Message] = []
        size = 0
        async for message in found:
            size += _wire_size(message)
            if len(fitting) == limit or (fitting and size > self._limits.size):
                return fitting, True
            fitting.append(message)
        return fitting, False


def not_active(session: Session) -> SessionNotActiveError | None:
    """Why nothing can be added to the session, if so."""
    if session.status == "active":
        return None
    return SessionNotActiveError(f"The session's status is {session.status}.")


def _settled(
    claim: Claim | None, reference: Callable[[Sequence[Message]], Reference]
) -> Settlement | None:
    if claim is None:
        return None
    return lambda messages: ClaimUpdate(claim, reference(messages), completed=True)


def _sequence(position: str) -> int:
    if not (position.isascii() and position.isdigit()):
        raise InvalidCursorError
    return int(position)


def _wire_size(message: Message) -> int:
    """Bytes in a function's answer, which carries its body as a JSON string: escaped once more."""
    draft = message.draft
    images = [image.key for image in draft.images]
    content = [draft.content, draft.tool_calls, draft.tool_results, images]
    body = json.dumps(content, ensure_ascii=False)
    return len(body.encode()) + body.count('"') + body.count("\\") + _ENVELOPE_BYTES
