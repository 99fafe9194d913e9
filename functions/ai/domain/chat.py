"""Turns: a person's message, the model's answer, both stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from functions.ai.domain.audit import Action, Operations, Subject
from functions.ai.domain.catalogue import Catalogue, Model
from functions.ai.domain.errors import (
    AnswerTooLargeError,
    ContextTooLongError,
    ProviderTimeoutError,
    SessionNotFoundError,
)
from functions.ai.domain.inference import Completion, Usage
from functions.ai.domain.models import Message, Session
from functions.ai.domain.ports import ModelProvider, SessionStore, Settlement
from functions.ai.domain.pricing import usd
from functions.ai.domain.prompts import to_prompt
from functions.ai.domain.sessions import SessionService, not_active
from functions.ai.domain.turn import Outcome, Turn
from servicekit.clock import utc_now
from servicekit.errors import AppError, InternalError
from servicekit.idempotency import Claim, ClaimUpdate, Idempotency, Reference, Request

MAX_HISTORY_MESSAGES = 2_000
MAX_HISTORY_BYTES = 8_000_000
"""Of the messages that are sent to a model; more than any window of the catalogue takes."""

MAX_ANSWER_BYTES = 300_000
"""UTF-8 bytes of an answer: it is one DynamoDB item, of 400 KB at most."""

MAX_ANSWER_SECONDS = 840
"""How long a model may write: of the function's 15 minutes one is left to store the answer."""

DRAIN_SECONDS = 10
"""How long a process that ends waits for its turns; the local cloud stops processes, Lambda not."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChatCommand:
    """A message to a model, in a session or in a new one; what is not named is the default."""

    message: str
    project_id: int
    user_id: int
    session_id: str | None
    card_id: int | None
    provider: str | None
    model: str | None


@dataclass(frozen=True, slots=True)
class _Work:
    """A turn that is ready to call its model."""

    session: Session
    model: Model
    question: int
    history: Sequence[Message]
    claim: Claim | None


@dataclass(slots=True)
class _History:
    """The messages that a model is sent, oldest first."""

    messages: list[Message] = field(default_factory=list)
    size: int = 0

    @property
    def end(self) -> int:
        return self.messages[-1].sequence if self.messages else 0

    def add(self, message: Message) -> None:
        self.messages.append(message)
        self.size += len(message.draft.content.encode())
        if len(self.messages) > MAX_HISTORY_MESSAGES or self.size > MAX_HISTORY_BYTES:
            raise ContextTooLongError(
                f"A model is sent at most {MAX_HISTORY_MESSAGES} messages of"
                f" {MAX_HISTORY_BYTES} bytes. Start a new session."
            )


@dataclass(slots=True)
class _Answer:
    texts: list[str] = field(default_factory=list)
    size: int = 0
    completion: Completion | None = None
    error: AppError | None = None

    def add(self, texts: Sequence[str]) -> None:
        self.size += sum(len(text.encode()) for text in texts)
        if self.size > MAX_ANSWER_BYTES:
            raise AnswerTooLargeError(f"An answer has at most {MAX_ANSWER_BYTES} bytes.")
        self.texts.extend(texts)


class ChatService:
    """Starts turns and sees them through, whether or not anybody listens."""

    def __init__(
        self,
        sessions: SessionService,
        store: SessionStore,
        catalogue: Catalogue,
        providers: Mapping[str, ModelProvider],
        idempotency: Idempotency,
        operations: Operations,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._catalogue = catalogue
        self._providers = providers
        self._idempotency = idempotency
        self._operations = operations
        self._running: set[asyncio.Task[None]] = set()

    async def start(self, command: ChatCommand, request: Request | None) -> Turn:
        """Stores the message and calls the model in a task of its own; before that, it is recorded.

        Raises `SessionNotFoundError`, `SessionNotActiveError`, `UnknownProviderError`,
        `UnknownModelError`, `ContextTooLongError`, `AuditUnavailableError` and the errors of
        idempotency.
        """

        async def work(claim: Claim | None) -> Turn:
            prepared = await self._prepare(command, claim)
            turn = Turn(prepared.session.session_id)
            # The web server drops its task when the client leaves; this one goes on.
            task = asyncio.create_task(self._run(turn, prepared))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            return turn

        return await self._idempotency.once(request, work, self._replay)

    async def drain(self) -> None:
        """Waits for the turns that still run, at most `DRAIN_SECONDS`."""
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_SECONDS)

    async def _prepare(self, command: ChatCommand, claim: Claim | None) -> _Work:
        earlier = claim.record.reference if claim else None
        if earlier is not None:
            return await self._resume(command, claim, earlier)
        if command.session_id is None:
            return await self._begin_session(command, claim)
        session = await self._permitted(command, command.session_id)
        model = self._model(command, session)
        draft = await self._sessions.draft("user", command.message)
        history = _History()
        # Most of what the model is sent is there already: it is read while the record is written.
        await self._operations.allow_with(
            Action.CHAT,
            Subject.session(session),
            self._read(history, session, session.next_sequence - 1),
            model.facts,
        )
        session, message = await self._store.append(
            session, draft, _settled(claim, "question"), only_active=True
        )
        await self._read(history, session, message.sequence - 1)
        history.add(message)
        return _Work(session, model, message.sequence, history.messages, claim)

    async def _begin_session(self, command: ChatCommand, claim: Claim | None) -> _Work:
        model = self._catalogue.find(command.provider, command.model)
        blank = await self._sessions.blank(
            command.project_id, command.user_id, command.card_id, model.provider.name, model.name
        )
        draft = await self._sessions.draft("user", command.message)
        await self._operations.allow(Action.CHAT, Subject.session(blank), model.facts)
        session, messages = await self._store.create(blank, [draft], _settled(claim, "question"))
        return _Work(session, model, messages[0].sequence, messages, claim)

    async def _resume(self, command: ChatCommand, claim: Claim | None, earlier: Reference) -> _Work:
        """Goes on after an attempt that stored the message and got no further."""
        session = await self._permitted(command, earlier["session_id"])
        model = self._model(command, session)
        history = _History()
        await self._operations.allow_with(
            Action.CHAT,
            Subject.session(session),
            self._read(history, session, earlier["question"]),
            model.facts,
        )
        return _Work(session, model, earlier["question"], history.messages, claim)

    async def _permitted(self, command: ChatCommand, session_id: str) -> Session:
        """The session, if the command may go on with it. Refusals are recorded."""
        session = await self._store.get(session_id)
        whose = (command.project_id, command.user_id)
        # Not 403: whoever may not see a session does not learn that it exists.
        if session is None or (session.project_id, session.user_id) != whose:
            subject = Subject.named(
                session_id, user_id=command.user_id, project_id=command.project_id
            )
            raise await self._operations.deny(Action.CHAT, subject, SessionNotFoundError())
        if error := not_active(session):
            raise await self._operations.deny(Action.CHAT, Subject.session(session), error)
        return session

    def _model(self, command: ChatCommand, session: Session) -> Model:
        return self._catalogue.for_session(
            command.provider, command.model, session.provider, session.model
        )

    async def _read(self, history: _History, session: Session, up_to: int) -> None:
        """Goes on reading behind what is there already."""
        async for message in self._store.messages(session, after=history.end, up_to=up_to):
            history.add(message)

    async def _run(self, turn: Turn, work: _Work) -> None:
        outcome = Outcome(None, InternalError())
        try:
            async with self._idempotency.kept(work.claim):
                answer = await self._ask(turn, work)
                outcome = await self._conclude(work, answer)
        except AppError as error:
            outcome = Outcome(None, error)
        except Exception:
            _logger.exception("turn failed")
        finally:
            if outcome.error is not None and work.claim is not None:
                await self._idempotency.release(work.claim)
            turn.end(outcome)
            _report(work, outcome)

    async def _ask(self, turn: Turn, work: _Work) -> _Answer:
        answer = _Answer()
        prompt = to_prompt(work.model.name, work.history)
        provider = self._providers[work.model.provider.name]
        try:
            async with (
                asyncio.timeout(MAX_ANSWER_SECONDS),
                aclosing(provider.stream(prompt)) as stream,
            ):
                async for event in stream:
                    if isinstance(event, Completion):
                        answer.completion = event
                        continue
                    answer.add(event)
                    turn.add(event)
        except AppError as error:
            answer.error = error
        except TimeoutError:
            answer.error = ProviderTimeoutError(f"It took more than {MAX_ANSWER_SECONDS} s.")
        except Exception:
            _logger.exception("provider failed")
            answer.error = InternalError()
        return answer

    async def _conclude(self, work: _Work, answer: _Answer) -> Outcome:
        if answer.error is not None and not answer.texts:
            return Outcome(None, answer.error)
        usage = answer.completion.usage if answer.completion else None
        draft = await self._sessions.draft(
            "assistant",
            "".join(answer.texts),
            tokens_used=usage.total if usage else None,
            cost=_cost(work.model, usage),
            reply_to=work.question,
            incomplete=answer.error is not None,
        )
        settlement = _settled(work.claim, "answer") if answer.error is None else None
        _, message = await self._store.append(work.session, draft, settlement, only_active=False)
        return Outcome(message, answer.error)

    async def _replay(self, reference: Reference) -> Turn:
        session_id: str = reference["session_id"]
        session = await self._store.get(session_id)
        if session is None:
            subject = Subject.named(session_id)
            raise await self._operations.deny(Action.CHAT, subject, SessionNotFoundError())
        message = await self._operations.allow_with(
            Action.CHAT,
            Subject.session(session),
            self._sessions.message(session, reference["answer"]),
        )
        turn = Turn(session.session_id)
        if message.draft.content:
            turn.add([message.draft.content])
        turn.end(Outcome(message, None))
        return turn


def _settled(claim: Claim | None, step: Literal["question", "answer"]) -> Settlement | None:
    """Writes down which message was stored last; the answer completes the work."""
    if claim is None:
        return None
    return lambda messages: ClaimUpdate(
        claim,
        {"session_id": messages[0].session_id, step: messages[0].sequence},
        completed=step == "answer",
    )


def _cost(model: Model, usage: Usage | None) -> str | None:
    cost = model.cost(usage, utc_now()) if usage else None
    return None if cost is None else usd(cost)


def _report(work: _Work, outcome: Outcome) -> None:
    stored = outcome.message
    _logger.info(
        "turn ended",
        extra={
            "session_id": work.session.session_id,
            "project_id": work.session.project_id,
            "user_id": work.session.user_id,
            "model": work.model.name,
            "tokens_used": stored.draft.tokens_used if stored else None,
            "cost": stored.draft.cost if stored else None,
            "error_code": outcome.error.code if outcome.error else None,
        },
    )
