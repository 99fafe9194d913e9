"""Asks a model, and keeps what it says and what that takes."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from functions.ai.domain.billing import Billing, Call
from functions.ai.domain.budgets import Reservation
from functions.ai.domain.catalogue import Model
from functions.ai.domain.context import fit
from functions.ai.domain.errors import (
    AnswerTooLargeError,
    ProviderTimeoutError,
    TurnCancelledError,
)
from functions.ai.domain.image_loader import ImageLoader, bounded, shown
from functions.ai.domain.inference import Completion, Prompt, Said
from functions.ai.domain.journal import Journal
from functions.ai.domain.models import Message
from functions.ai.domain.ports import ContentStore, ModelProvider
from functions.ai.domain.prompts import to_prompt
from functions.ai.domain.retries import FIRST_CONTENT_SECONDS, may_fail_over, retry_pause
from functions.ai.domain.router import Router
from functions.ai.domain.routing import Needs, Random
from functions.ai.domain.tool_data import call_to_wire
from functions.ai.domain.turns import RestartEvent, Turn
from servicekit.clock import Clock
from servicekit.errors import AppError, InternalError

MAX_ANSWER_BYTES = 300_000
"""UTF-8 bytes of an answer, tool calls and what its provider wants back included: it is one
DynamoDB item, of 400 KB at most."""

MAX_ANSWER_SECONDS = 840
"""How long a model may write: of the function's 15 minutes one is left to store the answer."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """A turn that is ready to call its model. One that `returns` is queued again after an error
    that may pass, and nothing is left of what was said. Where it is `restartable`, whoever listens
    can be told that the answer begins anew.
    """

    turn: Turn
    model: Model
    history: Sequence[Message]
    returns: bool = False
    restartable: bool = True


@dataclass(slots=True)
class Answer:
    """What came of the question so far.

    `begun` is whether its model has answered anything, `kept` how many of the texts were delivered
    (None for all); `calls` are those that a provider bills.
    """

    model: Model
    texts: list[str] = field(default_factory=list)
    size: int = 0
    kept: int | None = None
    completion: Completion | None = None
    error: AppError | None = None
    reservation: Reservation | None = None
    calls: list[Call] = field(default_factory=list)
    begun: bool = False

    def begin(self, model: Model) -> None:
        """That model answers from the beginning."""
        self.model = model
        self.texts.clear()
        self.size = 0
        self.completion = None
        self.begun = False

    def add(self, said: Said) -> None:
        """Raises `AnswerTooLargeError`."""
        # A lone half of a character may be on its way to its other half.
        self.size += sum(len(text.encode(errors="replace")) for text in said)
        if self.size > MAX_ANSWER_BYTES:
            raise AnswerTooLargeError(f"An answer has at most {MAX_ANSWER_BYTES} bytes.")
        self.texts.extend(said)

    def complete(self, completion: Completion) -> None:
        """Raises `AnswerTooLargeError`."""
        self.completion = completion
        data = [*map(call_to_wire, completion.tool_calls), *(p.content for p in completion.opaque)]
        self.size += len(json.dumps(data))
        if self.size > MAX_ANSWER_BYTES:
            raise AnswerTooLargeError(f"An answer has at most {MAX_ANSWER_BYTES} bytes.")

    def cut(self, error: AppError) -> None:
        """What comes from now on is not delivered any more."""
        self.kept = len(self.texts)
        self.error = error

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


class Asker:
    """Asks models on behalf of turns: the one that was asked for, and those that stand in for it.

    Before the first content another model's answer takes the place of a failure in silence. After
    it the answer begins anew, for whoever can be told so; for others it ends as it is.
    """

    def __init__(
        self,
        providers: Mapping[str, ModelProvider],
        router: Router,
        billing: Billing,
        content: ContentStore,
        clock: Clock,
        random: Random,
    ) -> None:
        self._providers = providers
        self._router = router
        self._billing = billing
        self._content = content
        self._clock = clock
        self._random = random

    def drains(self, answer: Answer) -> bool:
        """Whether breaking off the answer would save nothing."""
        return self._providers[answer.model.provider.name].drains

    async def ask(self, work: Work, answer: Answer, journal: Journal) -> None:
        """Fills the answer; whatever goes wrong becomes its error."""
        try:
            async with asyncio.timeout(MAX_ANSWER_SECONDS):
                await self._ask(work, answer, journal)
        except AppError as error:
            answer.error = answer.error or error
        except TimeoutError:
            answer.error = answer.error or ProviderTimeoutError(
                f"It took more than {MAX_ANSWER_SECONDS} s."
            )
        except Exception:
            _logger.exception("asking failed")
            answer.error = answer.error or InternalError()

    async def _ask(self, work: Work, answer: Answer, journal: Journal) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FIRST_CONTENT_SECONDS
        prompt = prompt_for(work, work.model)
        candidates = self._router.candidates(
            work.model, work.turn.project_id, needs=Needs.of(prompt)
        )
        images = ImageLoader(self._content)
        failure: AppError = InternalError()
        async with aclosing(candidates) as models:
            async for model in models:
                if answer.calls:
                    journal.restart(RestartEvent(model.provider.name, model.name))
                answer.begin(model)
                try:
                    # The first one is nearly always the one that was asked for.
                    fitted = prompt if model is work.model else None
                    await self._ask_model(work, answer, journal, images, deadline, fitted)
                except AppError as error:
                    late = not answer.begun and loop.time() >= deadline
                    if late or not may_fail_over(error) or not self._may_restart(work, answer):
                        raise
                    failure = error
                else:
                    return
        raise failure

    @staticmethod
    def _may_restart(work: Work, answer: Answer) -> bool:
        return answer.error is None and (work.restartable or not answer.begun)

    async def _ask_model(
        self,
        work: Work,
        answer: Answer,
        journal: Journal,
        images: ImageLoader,
        deadline: float,
        fitted: Prompt | None,
    ) -> None:
        """Asks one model, again after failures that pass; `fitted` is its prompt, if known."""
        loop = asyncio.get_running_loop()
        prompt = await images.loaded(await self._reserved(work, answer, fitted))
        for attempt in itertools.count(1):
            try:
                await self._listen(prompt, answer, journal, deadline)
            except AppError as error:
                pause = None
                if not answer.begun:
                    left = deadline - loop.time()
                    pause = retry_pause(error, attempt, left, self._random)
                if pause is None:
                    await self._router.report(answer.model, error)
                    raise
                await asyncio.sleep(pause)
            except Exception:
                _logger.exception("provider failed")
                await self._router.report(answer.model, InternalError())
                raise InternalError from None
            else:
                return

    async def _reserved(self, work: Work, answer: Answer, fitted: Prompt | None) -> Prompt:
        prompt = fitted or prompt_for(work, answer.model)
        answer.reservation, prompt = await self._billing.reserve(
            work.turn, answer.model, prompt, earlier=answer.reservation, calls=answer.calls
        )
        return prompt

    async def _listen(
        self, prompt: Prompt, answer: Answer, journal: Journal, deadline: float
    ) -> None:
        model = answer.model
        call = Call(model, prompt, self._clock())
        stream = self._providers[model.provider.name].stream(prompt)
        try:
            async with asyncio.timeout_at(deadline) as patience, aclosing(stream):
                async for event in stream:
                    if not answer.begun:
                        patience.reschedule(None)
                        answer.begun = True
                        answer.calls.append(call)
                        await self._router.report(model, None)
                    if isinstance(event, Completion):
                        call.usage = event.usage
                        answer.complete(event)
                        continue
                    call.said += sum(map(len, event))
                    answer.add(event)
                    if answer.kept is None:
                        journal.say(event)
        except TimeoutError:
            if not patience.expired():
                raise
            seconds = f"{FIRST_CONTENT_SECONDS:g}"
            raise ProviderTimeoutError(f"No model answered within {seconds} s.") from None


def prompt_for(work: Work, model: Model) -> Prompt:
    """The question with as much of what came before as the model has room for.

    Raises `ContextTooLongError`.
    """
    question = work.history[-1].draft
    prompt = replace(
        shown(to_prompt(model.name, work.history), model),
        tools=question.tools,
        max_output_tokens=question.max_output_tokens,
    )
    return bounded(fit(prompt, model.context_window, question.max_output_tokens).prompt)


def cancelled(answer: Answer) -> bool:
    """Whether somebody cancelled it."""
    return isinstance(answer.error, TurnCancelledError)
