"""Asks a model, and keeps what it says and what that takes."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from functions.ai.domain.billing import Billing, Call, Errand
from functions.ai.domain.budgets import Reservation
from functions.ai.domain.catalogue import Model
from functions.ai.domain.errors import (
    AnswerTooLargeError,
    ProviderTimeoutError,
    TurnCancelledError,
)
from functions.ai.domain.image_loader import ImageLoader
from functions.ai.domain.inference import Completion, Prompt, Said
from functions.ai.domain.ports import ContentStore, ModelProvider
from functions.ai.domain.retries import FIRST_CONTENT_SECONDS, may_fail_over, retry_pause
from functions.ai.domain.router import Router
from functions.ai.domain.routing import Needs, Random
from functions.ai.domain.tool_data import call_to_wire
from functions.ai.domain.turns import RestartEvent
from servicekit.clock import Clock
from servicekit.errors import AppError, InternalError

MAX_ANSWER_BYTES = 300_000
"""UTF-8 bytes of an answer, tool calls and what its provider wants back included: it is one
DynamoDB item, of 400 KB at most."""

MAX_ANSWER_SECONDS = 840
"""How long a model may write: of the function's 15 minutes one is left to store the answer."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, and the sequence of the last message that it neither holds nor tells of, if any."""

    prompt: Prompt
    untold: int | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and of which model first. `prompt` makes the prompt for a model, or raises
    `ContextTooLongError`. What is `restartable` may be answered anew after it was begun.
    """

    errand: Errand
    model: Model
    prompt: Callable[[Model], Asked]
    restartable: bool = True


class Listener(Protocol):
    """Who is told while a model answers."""

    def say(self, said: Said) -> None:
        """The model said something."""

    def restart(self, event: RestartEvent) -> None:
        """What was said no longer counts."""


@dataclass(slots=True)
class Answer:
    """What came of the question so far.

    `begun` is whether its model has answered anything, `kept` how many of the texts were delivered
    (None for all); `calls` are those that a provider bills, `untold` is of its prompt (`Asked`).
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
    untold: int | None = None

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
        """Tokens of what was delivered of an answer that was cut: its share of the text."""
        if self.kept is None or not self.calls:
            return None
        whole = sum(map(len, self.texts))
        return round(self.calls[-1].billed.output * len(self.text) / whole) if whole else 0


class Asker:
    """Asks models: the one that was asked for, and those that stand in for it.

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

    async def ask(self, question: Question, answer: Answer, listener: Listener) -> None:
        """Fills the answer; whatever goes wrong becomes its error."""
        try:
            async with asyncio.timeout(MAX_ANSWER_SECONDS):
                await self._ask(question, answer, listener)
        except AppError as error:
            answer.error = answer.error or error
        except TimeoutError:
            answer.error = answer.error or ProviderTimeoutError(
                f"It took more than {MAX_ANSWER_SECONDS} s."
            )
        except Exception:
            _logger.exception("asking failed")
            answer.error = answer.error or InternalError()

    async def _ask(self, question: Question, answer: Answer, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FIRST_CONTENT_SECONDS
        asked = question.prompt(question.model)
        candidates = self._router.candidates(
            question.model, question.errand.project_id, needs=Needs.of(asked.prompt)
        )
        images = ImageLoader(self._content)
        failure: AppError = InternalError()
        async with aclosing(candidates) as models:
            async for model in models:
                if answer.calls:
                    listener.restart(RestartEvent(model.provider.name, model.name))
                answer.begin(model)
                try:
                    # The first one is nearly always the one that was asked for.
                    known = asked if model is question.model else None
                    await self._ask_model(question, answer, listener, images, deadline, known)
                except AppError as error:
                    late = not answer.begun and loop.time() >= deadline
                    if late or not may_fail_over(error) or not self._may_restart(question, answer):
                        raise
                    failure = error
                else:
                    return
        raise failure

    @staticmethod
    def _may_restart(question: Question, answer: Answer) -> bool:
        return answer.error is None and (question.restartable or not answer.begun)

    async def _ask_model(
        self,
        question: Question,
        answer: Answer,
        listener: Listener,
        images: ImageLoader,
        deadline: float,
        known: Asked | None,
    ) -> None:
        """Asks one model, again after failures that pass; its prompt may be `known`."""
        loop = asyncio.get_running_loop()
        asked = known or question.prompt(answer.model)
        answer.untold = asked.untold
        prompt = await images.loaded(await self._reserved(question, answer, asked.prompt))
        for attempt in itertools.count(1):
            try:
                await self._listen(prompt, answer, listener, deadline)
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

    async def _reserved(self, question: Question, answer: Answer, prompt: Prompt) -> Prompt:
        answer.reservation, prompt = await self._billing.reserve(
            question.errand,
            answer.model,
            prompt,
            earlier=answer.reservation,
            calls=answer.calls,
        )
        return prompt

    async def _listen(
        self, prompt: Prompt, answer: Answer, listener: Listener, deadline: float
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
                        listener.say(event)
        except TimeoutError:
            if not patience.expired():
                raise
            seconds = f"{FIRST_CONTENT_SECONDS:g}"
            raise ProviderTimeoutError(f"No model answered within {seconds} s.") from None


def cancelled(answer: Answer) -> bool:
    """Whether somebody cancelled it."""
    return isinstance(answer.error, TurnCancelledError)
