"""A person's message to a model: stored with the turn that answers it, which is ready to run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from functions.ai.domain.audit import Action, Operations, Subject
from functions.ai.domain.catalogue import Catalogue, Model
from functions.ai.domain.errors import (
    ImagesNotSupportedError,
    SessionNotFoundError,
    SessionOccupiedError,
    TurnInProgressError,
    TurnLostError,
    TurnNotFoundError,
)
from functions.ai.domain.history import History
from functions.ai.domain.image_keeper import ImageKeeper
from functions.ai.domain.images import CallersImage
from functions.ai.domain.inference import Tool
from functions.ai.domain.models import Draft, Message, Session, ToolData
from functions.ai.domain.ports import SessionStore, Settlement, TurnStore
from functions.ai.domain.recollection import Recollection
from functions.ai.domain.router import Router
from functions.ai.domain.routing import Needs
from functions.ai.domain.sessions import SessionService, not_active
from functions.ai.domain.summaries import Recall
from functions.ai.domain.turn_service import TurnService
from functions.ai.domain.turns import Bill, Job, Turn, lease_from
from functions.ai.domain.work import Work
from servicekit.clock import Clock
from servicekit.idempotency import Claim, ClaimUpdate, Reference
from servicekit.ids import new_uuid7


@dataclass(frozen=True, slots=True)
class ChatCommand:
    """A message to a model, in a session or in a new one; what is not named is the default.

    `tools` are those that the model may call, `tool_results` answer the calls of its last message.
    Whoever asks for a `restartable` answer can be told that it begins anew.
    """

    message: str
    project_id: int
    user_id: int
    session_id: str | None
    card_id: int | None
    provider: str | None
    model: str | None
    tools: tuple[Tool, ...] = ()
    tool_results: ToolData = ()
    max_output_tokens: int | None = None
    restartable: bool = True
    images: tuple[CallersImage, ...] = ()


@dataclass(frozen=True, slots=True)
class Stores:
    """Where sessions, turns and images live."""

    sessions: SessionStore
    turns: TurnStore
    images: ImageKeeper


class TurnStarter:
    """Begins turns, and begins those again that failed. Somebody else runs them.

    `action` is what the operation is called in its audit record.
    """

    def __init__(
        self,
        sessions: SessionService,
        stores: Stores,
        turns: TurnService,
        catalogue: Catalogue,
        router: Router,
        recollection: Recollection,
        clock: Clock,
        operations: Operations,
    ) -> None:
        self._sessions = sessions
        self._stores = stores
        self._turns = turns
        self._catalogue = catalogue
        self._router = router
        self._recollection = recollection
        self._clock = clock
        self._operations = operations

    async def begin(
        self,
        command: ChatCommand,
        claim: Claim | None,
        action: Action,
        job: Job | None = None,
    ) -> Work:
        """Stores the message and a turn: a running one, or a queued `job`.

        Raises `SessionNotFoundError`, `SessionNotActiveError`, `TurnInProgressError`,
        `UnknownProviderError`, `UnknownModelError`, `ImagesNotSupportedError`,
        `AuditUnavailableError` and the errors of `ImageKeeper`.
        """
        if command.session_id is None:
            return await self._begin_session(command, claim, action, job)
        session = await self.permitted(command, command.session_id, action)
        model = _seeing(command, self._model(command, session))
        draft = await self._question(command)
        history = self._history(session, model)
        # Most of what the model is sent is there already: it is read while the record is written.
        recall = await self._operations.allow_with(
            action,
            Subject.session(session),
            self._read(history, session, session.next_sequence - 1),
            model.facts,
        )
        draft = await self._illustrated(draft, command, session)
        turn = self._new_turn(session, model, job)
        session, turn, message = await self._begin(session, draft, turn, claim)
        await history.read(message.sequence - 1)
        history.add(message)
        return Work(turn, model, history.messages, recall, restartable=command.restartable)

    async def again(self, command: ChatCommand, reference: Reference) -> Work | Turn:
        """The turn of an earlier request: to be followed, or where it failed to be run again."""
        session = await self.permitted(
            command, reference["session_id"], Action.CHAT, even_ended=True
        )
        turn = await self._stores.turns.get(reference["turn_id"])
        if turn is None:
            raise TurnNotFoundError
        turn = await self._turns.settled(turn)
        if turn.status != "failed":
            await self._operations.allow(Action.CHAT, Subject.session(session))
            return turn
        if error := not_active(session):
            raise await self._operations.deny(Action.CHAT, Subject.session(session), error)
        return await self._retry(command, session, turn)

    async def resume(self, turn: Turn, last_event: int, bill: Bill | None = None) -> Work:
        """Begins the attempt of a job that nobody is at work on; what was recorded when it was
        made allows it. `last_event` is what an attempt came to that did not end, `bill` its cost.

        Raises `TurnLostError`, `SessionNotFoundError`, `SessionNotActiveError`,
        `SessionOccupiedError`, `UnknownProviderError` and `UnknownModelError`.
        """
        model = self._catalogue.find(turn.provider, turn.model)
        session = await self._stores.sessions.get(turn.session_id)
        if session is None:
            raise SessionNotFoundError
        history = self._history(session, model)
        recall = await self._read(history, session, turn.question)
        now = self._clock()
        lease = lease_from(now)
        if turn.status == "queued":
            taken = replace(turn, status="running", updated_at=now, lease_expires_at=lease)
        else:
            ended = replace(turn, last_event=last_event)
            taken = ended.again(now, status="running", lease_expires_at=lease)
        await self._stores.turns.retry(turn, taken, bill)
        return Work(taken, model, history.messages, recall)

    async def permitted(
        self, command: ChatCommand, session_id: str, action: Action, *, even_ended: bool = False
    ) -> Session:
        """The session, if the command may go on with it. Refusals are recorded."""
        session = await self._stores.sessions.get(session_id)
        whose = (command.project_id, command.user_id)
        # Not 403: whoever may not see a session does not learn that it exists.
        if session is None or (session.project_id, session.user_id) != whose:
            subject = Subject.named(
                session_id, user_id=command.user_id, project_id=command.project_id
            )
            raise await self._operations.deny(action, subject, SessionNotFoundError())
        if (error := not_active(session)) and not even_ended:
            raise await self._operations.deny(action, Subject.session(session), error)
        return session

    async def _begin_session(
        self, command: ChatCommand, claim: Claim | None, action: Action, job: Job | None
    ) -> Work:
        model = _seeing(command, await self._new_model(command))
        blank = await self._sessions.blank(
            command.project_id, command.user_id, command.card_id, model.provider.name, model.name
        )
        draft = await self._question(command)
        await self._operations.allow(action, Subject.session(blank), model.facts)
        draft = await self._illustrated(draft, command, blank)
        turn = self._new_turn(blank, model, job)
        _, turn, message = await self._begin(blank, draft, turn, claim, new=True)
        return Work(turn, model, [message], restartable=command.restartable)

    async def _begin(
        self,
        session: Session,
        draft: Draft,
        turn: Turn,
        claim: Claim | None,
        *,
        new: bool = False,
    ) -> tuple[Session, Turn, Message]:
        """Stores question and turn; where another turn is at work on the session, looks once
        whether it still runs.
        """
        question = replace(draft, turn_id=turn.turn_id)
        settlement = _settled(claim, turn)
        for last in (False, True):
            try:
                session, messages = await self._stores.turns.begin(
                    session, [question], turn, settlement, new=new
                )
            except SessionOccupiedError as occupied:
                if last or not await self._freed(occupied.turn_id):
                    raise TurnInProgressError(occupied.turn_id) from None
            else:
                message = messages[-1]
                return session, replace(turn, question=message.sequence), message
        raise AssertionError  # the second round returns or raises

    async def _freed(self, turn_id: str) -> bool:
        """Whether the turn at work on a session was none any more, and is ended now."""
        turn = await self._stores.turns.get(turn_id)
        return turn is None or (await self._turns.settled(turn)).ended

    def _new_turn(self, session: Session, model: Model, job: Job | None) -> Turn:
        now = self._clock()
        return Turn(
            turn_id=new_uuid7(),
            session_id=session.session_id,
            session_number=session.number,
            project_id=session.project_id,
            user_id=session.user_id,
            provider=model.provider.name,
            model=model.name,
            question=session.next_sequence,
            status="queued" if job else "running",
            created_at=now,
            updated_at=now,
            lease_expires_at=0 if job else lease_from(now),
            job=job,
        )

    async def _retry(self, command: ChatCommand, session: Session, turn: Turn) -> Work | Turn:
        model = self._model(command, session)
        history = self._history(session, model)
        recall = await self._operations.allow_with(
            Action.CHAT,
            Subject.session(session),
            self._read(history, session, turn.question),
            model.facts,
        )
        now = self._clock()
        again = turn.again(
            now,
            provider=model.provider.name,
            model=model.name,
            status="running",
            lease_expires_at=lease_from(now),
        )
        try:
            await self._stores.turns.retry(turn, again)
        except SessionOccupiedError as occupied:
            raise TurnInProgressError(occupied.turn_id) from None
        except TurnLostError:
            # Another request with this key was faster: there is one attempt, and it is followed.
            return await self._turns.reload(turn)
        return Work(again, model, history.messages, recall, restartable=command.restartable)

    async def _new_model(self, command: ChatCommand) -> Model:
        if command.provider is None and command.model is None:
            needs = Needs(images=bool(command.images))
            return await self._router.default(command.project_id, needs=needs)
        return self._catalogue.find(command.provider, command.model)

    def _model(self, command: ChatCommand, session: Session) -> Model:
        return self._catalogue.for_session(
            command.provider, command.model, session.provider, session.model
        )

    def _history(self, session: Session, model: Model) -> History:
        return History(self._stores.sessions, session, model.context_window)

    async def _read(self, history: History, session: Session, up_to: int) -> Recall:
        """Reads the history up to a sequence, and what tells of what came before it."""
        _, recall = await asyncio.gather(
            history.read(up_to), self._recollection.of(session, before=up_to)
        )
        return recall

    async def _question(self, command: ChatCommand) -> Draft:
        return await self._sessions.draft(
            "user",
            command.message,
            tool_results=command.tool_results or None,
            tools=command.tools,
            max_output_tokens=command.max_output_tokens,
        )

    async def _illustrated(self, draft: Draft, command: ChatCommand, session: Session) -> Draft:
        """The question with its images, which are kept from here on."""
        occupied_by = session.turn_id
        # Each repetition of what is refused would leave a copy.
        if command.images and occupied_by and not await self._freed(occupied_by):
            raise TurnInProgressError(occupied_by)
        return replace(draft, images=await self._stores.images.keep(command.images, session))


def _seeing(command: ChatCommand, model: Model) -> Model:
    """The model, if it reads what the command shows. Raises `ImagesNotSupportedError`."""
    if command.images and not model.may_see:
        raise ImagesNotSupportedError(f"{model.name} of {model.provider.name} reads text alone.")
    return model


def _settled(claim: Claim | None, turn: Turn) -> Settlement | None:
    """From here on the turn tells what becomes of the request: the key leads to it."""
    if claim is None:
        return None
    reference = {"session_id": turn.session_id, "turn_id": turn.turn_id}
    return lambda _messages: ClaimUpdate(claim, reference, completed=True)
