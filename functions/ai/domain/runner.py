"""Runs a turn: asks the model, keeps what it says, and ends the turn whatever happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from functions.ai.domain.catalogue import Model
from functions.ai.domain.channel import Channel
from functions.ai.domain.errors import (
    AnswerTooLargeError,
    ProviderThrottledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    TurnCancelledError,
    TurnInterruptedError,
    TurnLostError,
)
from functions.ai.domain.inference import Completion, Prompt, Said
from functions.ai.domain.journal import Journal
from functions.ai.domain.models import Draft, Message
from functions.ai.domain.ports import ModelProvider, TurnStore
from functions.ai.domain.prompts import to_prompt
from functions.ai.domain.sessions import SessionService
from functions.ai.domain.turns import (
    LEASE_SECONDS,
    Bill,
    Ending,
    EndStatus,
    Failure,
    Numbered,
    Outcome,
    Turn,
    lease_from,
)
from servicekit.clock import Clock
from servicekit.errors import AppError, InternalError, StoreUnavailableError

MAX_ANSWER_BYTES = 300_000
"""UTF-8 bytes of an answer: it is one DynamoDB item, of 400 KB at most."""

MAX_ANSWER_SECONDS = 840
"""How long a model may write: of the function's 15 minutes one is left to store the answer."""

WATCH_SECONDS = 0.5
"""How often a running turn looks whether it is cancelled: that stops it within a second."""

RENEW_SECONDS = LEASE_SECONDS / 4

PASSING = (
    ProviderThrottledError,
    ProviderUnavailableError,
    ProviderTimeoutError,
    StoreUnavailableError,
    TurnInterruptedError,
    InternalError,
)
"""Errors after which the same attempt may well succeed later."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """A turn that is ready to call its model. One that `returns` is queued again after an error
    that may pass, and nothing is left of what was said.
    """

    turn: Turn
    model: Model
    history: Sequence[Message]
    returns: bool = False


@dataclass(slots=True)
class _Answer:
    texts: list[str] = field(default_factory=list)
    size: int = 0
    kept: int | None = None
    completion: Completion | None = None
    error: AppError | None = None

    def add(self, texts: Said) -> None:
        self.size += sum(len(text.encode(errors="replace")) for text in texts)
        if self.size > MAX_ANSWER_BYTES:
            raise AnswerTooLargeError(f"An answer has at most {MAX_ANSWER_BYTES} bytes.")
        self.texts.extend(texts)

    def cut(self) -> None:
        """What comes from now on is not delivered any more."""
        self.kept = len(self.texts)
        self.error = TurnCancelledError()

    @property
    def text(self) -> str:
        """What was delivered."""
        return "".join(self.texts[: self.kept])

    def delivered(self) -> int | None:
        """Tokens of what was delivered, where that is not all of it: its share of the text."""
        usage = self.completion.usage if self.completion else None
        if usage is None or self.kept is None:
            return None
        whole = sum(map(len, self.texts))
        return round(usage.output * len(self.text) / whole) if whole else 0


class TurnRunner:
    """Sees turns through, whether or not anybody listens."""

    def __init__(
        self,
        store: TurnStore,
        sessions: SessionService,
        providers: Mapping[str, ModelProvider],
        clock: Clock,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._providers = providers
        self._clock = clock

    async def run(self, work: Work, channel: Channel) -> None:
        """Never raises: whatever goes wrong ends the turn."""
        outcome = Outcome(work.turn, None, InternalError())
        try:
            outcome = await self._see_through(work, channel)
        except AppError as error:
            outcome = Outcome(work.turn, None, error)
        except Exception:
            _logger.exception("turn failed")
        finally:
            channel.end(outcome)
            channel.finish()
            _report(work, outcome)

    async def _see_through(self, work: Work, channel: Channel) -> Outcome:
        journal = Journal(self._store, work.turn, channel)
        answer = _Answer()
        asking = asyncio.create_task(self._ask(work, answer, journal))
        try:
            async with self._watched(work.turn, asking, answer) as drained:
                await asyncio.wait({asking, drained}, return_when=asyncio.FIRST_COMPLETED)
            outcome = await self._conclude(work, answer, journal, billed=asking.done())
            channel.end(outcome)
            if asking.done():
                return outcome
            await asking
            return await self._account(outcome, work, answer)
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking

    async def _ask(self, work: Work, answer: _Answer, journal: Journal) -> None:
        prompt = to_prompt(work.model.name, work.history)
        try:
            async with asyncio.timeout(MAX_ANSWER_SECONDS):
                await self._listen(work, prompt, answer, journal)
        except AppError as error:
            answer.error = answer.error or error
        except TimeoutError:
            answer.error = answer.error or ProviderTimeoutError(
                f"It took more than {MAX_ANSWER_SECONDS} s."
            )
        except Exception:
            _logger.exception("provider failed")
            answer.error = answer.error or InternalError()

    async def _listen(self, work: Work, prompt: Prompt, answer: _Answer, journal: Journal) -> None:
        provider = self._providers[work.model.provider.name]
        async with aclosing(provider.stream(prompt)) as stream:
            async for event in stream:
                if isinstance(event, Completion):
                    answer.completion = event
                    continue
                answer.add(event)
                if answer.kept is None:
                    journal.say(event)

    @asynccontextmanager
    async def _watched(
        self, turn: Turn, asking: asyncio.Task[None], answer: _Answer
    ) -> AsyncIterator[asyncio.Future[None]]:
        """Renews the attempt's lease, and stops the asking when the turn is cancelled or lost.

        What is yielded is done when the answer is given up while the provider still bills it.
        """
        drained = asyncio.get_running_loop().create_future()
        watch = asyncio.create_task(self._watch(turn, asking, answer, drained))
        try:
            yield drained
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    async def _watch(
        self,
        turn: Turn,
        asking: asyncio.Task[None],
        answer: _Answer,
        drained: asyncio.Future[None],
    ) -> None:
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            lease = None
            if loop.time() - renewed >= RENEW_SECONDS:
                lease = lease_from(self._clock())
            try:
                signal = await self._store.watch(turn, lease)
            except AppError:
                # Of the store: no reason to end the work.
                _logger.warning("turn not watched", exc_info=True)
                continue
            if lease is not None:
                renewed = loop.time()
            if signal == "go":
                continue
            answer.cut()
            if signal == "lost":
                answer.error = TurnLostError()
            elif self._providers[turn.provider].drains:
                drained.set_result(None)
                return
            asking.cancel()
            return

    async def _conclude(
        self, work: Work, answer: _Answer, journal: Journal, *, billed: bool
    ) -> Outcome:
        events = await journal.close()
        if isinstance(answer.error, TurnLostError):
            raise answer.error
        if work.returns and isinstance(answer.error, PASSING):
            if later := await self._postponed(work.turn, journal.last_event, events):
                return Outcome(later, None, answer.error)
            answer.error = TurnCancelledError()
        ending = Ending(
            status=_status(answer),
            at=self._clock(),
            last_event=journal.last_event,
            draft=await self._draft(work, answer),
            failure=Failure.of(answer.error) if answer.error else None,
            stop=answer.completion.stop if answer.completion else None,
            events=events,
            bill=_bill(work, answer) if billed else None,
        )
        turn, message = await self._store.conclude(work.turn, ending)
        return Outcome(turn, message, answer.error)

    async def _postponed(
        self, turn: Turn, last_event: int, events: Sequence[Numbered]
    ) -> Turn | None:
        """The turn back in its queue, or None where it is to be cancelled."""
        ended = replace(turn, last_event=last_event)
        later = ended.again(self._clock(), status="queued")
        return later if await self._store.postpone(turn, later, events) else None

    async def _draft(self, work: Work, answer: _Answer) -> Draft | None:
        text = answer.text
        if answer.error is not None and not text:
            return None
        bill = _bill(work, answer)
        return await self._sessions.draft(
            "assistant",
            text,
            tokens_used=bill.usage.total if bill.usage else None,
            cost=bill.cost,
            reply_to=work.turn.question,
            incomplete=answer.error is not None,
        )

    async def _account(self, outcome: Outcome, work: Work, answer: _Answer) -> Outcome:
        """Adds what the answer cost that was read on after it had been cancelled."""
        try:
            turn = await self._store.account(outcome.turn, _bill(work, answer))
        except AppError:
            _logger.exception("turn not accounted")
            return outcome
        return Outcome(turn, outcome.message, outcome.error)


def _status(answer: _Answer) -> EndStatus:
    if answer.error is None:
        return "completed"
    return "cancelled" if isinstance(answer.error, TurnCancelledError) else "failed"


def _bill(work: Work, answer: _Answer) -> Bill:
    usage = answer.completion.usage if answer.completion else None
    return Bill(usage, work.model.cost(usage) if usage else None, answer.delivered())


def _report(work: Work, outcome: Outcome) -> None:
    turn = outcome.turn
    _logger.info(
        "turn ended" if turn.ended else "turn not ended",
        extra={
            "turn_id": turn.turn_id,
            "session_id": turn.session_id,
            "project_id": turn.project_id,
            "user_id": turn.user_id,
            "model": work.model.name,
            "attempt": work.turn.attempt,
            "tokens_used": turn.usage.total if turn.usage else None,
            "cost": turn.cost,
            "error_code": outcome.error.code if outcome.error else None,
        },
    )
