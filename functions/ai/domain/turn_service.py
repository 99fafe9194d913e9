"""Turns by their id: read, followed, cancelled; and the end of those whose process is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from functions.ai.domain.audit import Action, Operations, Subject
from functions.ai.domain.channel import SILENCE_SECONDS
from functions.ai.domain.errors import (
    SessionNotFoundError,
    TurnCancelledError,
    TurnInterruptedError,
    TurnLostError,
    TurnNotFoundError,
)
from functions.ai.domain.lost_attempts import LostAttempts
from functions.ai.domain.models import Message
from functions.ai.domain.ports import SessionStore, TurnStore
from functions.ai.domain.sessions import SessionService
from functions.ai.domain.turns import (
    Bill,
    Ending,
    Failure,
    Numbered,
    Outcome,
    RestartEvent,
    TextEvent,
    Turn,
    TurnFailedError,
)
from servicekit.clock import Clock
from servicekit.errors import AppError

POLL_SECONDS = 0.25
"""How often a turn that runs elsewhere is looked at: no more often than its events are written."""


class TurnService:
    """What callers do with turns. All of it is recorded before it is done."""

    def __init__(
        self,
        store: TurnStore,
        sessions: SessionStore,
        messages: SessionService,
        clock: Clock,
        operations: Operations,
        lost: LostAttempts,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._messages = messages
        self._clock = clock
        self._operations = operations
        self._lost = lost

    async def get(self, turn_id: str) -> Turn:
        """The turn as it is now. Raises `TurnNotFoundError`."""
        turn = await self._known(Action.READ_TURN, turn_id)
        await self._operations.allow(Action.READ_TURN, Subject.turn(turn))
        return await self.settled(turn)

    async def cancel(self, turn_id: str) -> Turn:
        """Asks the turn to stop; it does so within a second, and keeps what was said. A job that
        waits ends at once, a turn that has ended stays as it is. Raises `TurnNotFoundError`.
        """
        turn = await self.settled(await self._known(Action.CANCEL_TURN, turn_id))
        await self._operations.allow(Action.CANCEL_TURN, Subject.turn(turn))
        while True:
            if turn.idle(self._clock()) and (ended := await self.ended(turn, TurnCancelledError())):
                return ended
            asked = await self._store.cancel(turn_id, self._clock())
            if asked is None:
                raise TurnNotFoundError
            if asked.status != "queued" or asked == turn:
                return asked
            # It went back into its queue in between.
            turn = asked

    async def follow(self, turn_id: str, after: int | None) -> Followed:
        """The turn's events behind `after`; without it, those of its present attempt.

        Raises `TurnNotFoundError`.
        """
        turn = await self._known(Action.FOLLOW_TURN, turn_id)
        await self._operations.allow(Action.FOLLOW_TURN, Subject.turn(turn))
        return self.followed(turn, after)

    def followed(self, turn: Turn, after: int | None = None) -> Followed:
        """The same of a turn that is known, without a record."""
        return Followed(self, turn, turn.first_event - 1 if after is None else after)

    async def settled(self, turn: Turn) -> Turn:
        """The turn; one whose process is gone is ended first, and keeps what it had said."""
        if not turn.abandoned(self._clock()):
            return turn
        ended = await self.ended(turn, TurnInterruptedError())
        return ended or await self.reload(turn)

    async def ended(self, turn: Turn, error: AppError) -> Turn | None:
        """Ends a turn that nobody is at work on; None where somebody is after all. What it said is
        kept, but for a job's, which may be tried again.
        """
        events = await self.said(turn)
        text = "" if turn.job else _text(events)
        draft = None
        if text:
            draft = await self._messages.draft(
                "assistant", text, reply_to=turn.question, incomplete=True
            )
        ending = Ending(
            status="cancelled" if isinstance(error, TurnCancelledError) else "failed",
            at=self._clock(),
            last_event=events[-1].sequence if events else turn.first_event - 1,
            draft=draft,
            failure=Failure.of(error),
            bill=await self._lost.bill(turn, events),
        )
        try:
            ended, _ = await self._store.conclude(turn, ending)
        except (TurnLostError, SessionNotFoundError):
            return None
        return ended

    async def reload(self, turn: Turn) -> Turn:
        """The turn as it is now. Raises `TurnNotFoundError`."""
        found = await self._store.get(turn.turn_id)
        if found is None:
            raise TurnNotFoundError
        return found

    async def events(self, turn: Turn, after: int) -> Sequence[Numbered]:
        """The stored events behind `after`."""
        return await self._store.events(turn.turn_id, after)

    async def outcome(self, turn: Turn) -> Outcome:
        """How an ended turn ended."""
        message = await self._answer(turn)
        return Outcome(turn, message, TurnFailedError(turn.failure) if turn.failure else None)

    async def said(self, turn: Turn) -> list[Numbered]:
        """All stored events of the turn's present attempt."""
        events: list[Numbered] = []
        after = turn.first_event - 1
        while page := await self._store.events(turn.turn_id, after):
            events += page
            after = page[-1].sequence
        return events

    async def lost(self, turn: Turn, events: Sequence[Numbered]) -> Bill:
        """What the attempt cost that said these events, when another takes its place."""
        return await self._lost.bill(turn, events)

    async def _answer(self, turn: Turn) -> Message | None:
        if turn.answer is None:
            return None
        session = await self._sessions.get(turn.session_id)
        if session is None:
            raise SessionNotFoundError
        return await self._messages.message(session, turn.answer)

    async def _known(self, action: Action, turn_id: str) -> Turn:
        turn = await self._store.get(turn_id)
        if turn is None:
            raise await self._operations.deny(action, Subject.turn(None), TurnNotFoundError())
        return turn


def _text(events: Sequence[Numbered]) -> str:
    texts: list[str] = []
    for numbered in events:
        match numbered.event:
            case TextEvent(text):
                texts.append(text)
            case RestartEvent():
                texts.clear()
    return "".join(texts)


class Followed:
    """`channel.Listening` from the store, whichever process runs the turn."""

    def __init__(self, service: TurnService, turn: Turn, after: int) -> None:
        self._service = service
        self.after = after
        self._after = after
        self._ready: Sequence[Numbered] | None = None
        self.turn = turn

    async def started(self) -> None:
        """See `Listening`."""
        while True:
            # The state is read before the events: what an ended turn has said is there by then.
            self.turn = await self._service.settled(self.turn)
            self._ready = await self._read()
            if self._ready:
                return
            if self.turn.ended:
                if self.turn.failure and self.turn.answer is None:
                    raise TurnFailedError(self.turn.failure)
                return
            await self._pause()

    async def batches(self) -> AsyncIterator[Sequence[Numbered]]:
        """See `Listening`."""
        loop = asyncio.get_running_loop()
        heard = loop.time()
        ready, self._ready = self._ready, None
        while True:
            ended = self.turn.ended
            events = ready or await self._read()
            ready = None
            if events or loop.time() - heard >= SILENCE_SECONDS:
                heard = loop.time()
                yield events
            if events:
                continue
            if ended:
                return
            await self._pause()

    async def outcome(self) -> Outcome:
        """See `Listening`."""
        return await self._service.outcome(self.turn)

    async def finished(self) -> None:
        """See `Listening`: another process does the work."""

    async def _read(self) -> Sequence[Numbered]:
        events = await self._service.events(self.turn, self._after)
        if not events and self.turn.ended:
            events = await self._lost()
        if events:
            self._after = events[-1].sequence
        return events

    async def _lost(self) -> Sequence[Numbered]:
        """The answer as a whole, where an ended turn's events are gone before they were read."""
        last, first = self.turn.last_event, self.turn.first_event
        if self._after >= last or self.turn.answer is None:
            return ()
        message = (await self._service.outcome(self.turn)).message
        if message is None:
            return ()
        whole = Numbered(last, TextEvent(message.draft.content))
        if self._after < first:
            return (whole,)
        return (Numbered(last, RestartEvent(self.turn.provider, self.turn.model)), whole)

    async def _pause(self) -> None:
        await asyncio.sleep(POLL_SECONDS)
        self.turn = await self._service.settled(await self._service.reload(self.turn))
