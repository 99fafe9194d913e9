"""Asks a model, and keeps what it says and what that takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from functions.ai.domain.billing import Billing, Call
from functions.ai.domain.budgets import Reservation
from functions.ai.domain.catalogue import Model
from functions.ai.domain.errors import (
    AnswerTooLargeError,
    ProviderTimeoutError,
    TurnCancelledError,
)
from functions.ai.domain.inference import Completion, Prompt, Said
from functions.ai.domain.journal import Journal
from functions.ai.domain.models import Message
from functions.ai.domain.ports import ModelProvider
from functions.ai.domain.prompts import to_prompt
from functions.ai.domain.turns import Turn
from servicekit.clock import Clock
from servicekit.errors import AppError, InternalError

MAX_ANSWER_BYTES = 300_000
"""UTF-8 bytes of an answer: it is one DynamoDB item, of 400 KB at most."""

MAX_ANSWER_SECONDS = 840
"""How long a model may write: of the function's 15 minutes one is left to store the answer."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """A turn that is ready to call its model."""

    turn: Turn
    model: Model
    history: Sequence[Message]


@dataclass(slots=True)
class Answer:
    """What came of the question so far.

    `kept` is how many of the texts were delivered, None for all; `calls` are those that a provider
    bills.
    """

    model: Model
    texts: list[str] = field(default_factory=list)
    size: int = 0
    kept: int | None = None
    completion: Completion | None = None
    error: AppError | None = None
    reservation: Reservation | None = None
    calls: list[Call] = field(default_factory=list)

    def add(self, said: Said) -> None:
        """Raises `AnswerTooLargeError`."""
        # A lone half of a character may be on its way to its other half.
        self.size += sum(len(text.encode(errors="replace")) for text in said)
        if self.size > MAX_ANSWER_BYTES:
            raise AnswerTooLargeError(f"An answer has at most {MAX_ANSWER_BYTES} bytes.")
        self.texts.extend(said)

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
    """Asks models on behalf of turns."""

    def __init__(
        self, providers: Mapping[str, ModelProvider], billing: Billing, clock: Clock
    ) -> None:
        self._providers = providers
        self._billing = billing
        self._clock = clock

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
            _logger.exception("provider failed")
            answer.error = answer.error or InternalError()

    async def _ask(self, work: Work, answer: Answer, journal: Journal) -> None:
        prompt = to_prompt(work.model.name, work.history)
        answer.reservation, prompt = await self._billing.reserve(work.turn, work.model, prompt)
        await self._listen(work.model, prompt, answer, journal)

    async def _listen(self, model: Model, prompt: Prompt, answer: Answer, journal: Journal) -> None:
        provider = self._providers[model.provider.name]
        call = Call(model, prompt, self._now())
        async with aclosing(provider.stream(prompt)) as stream:
            async for event in stream:
                if isinstance(event, Completion):
                    answer.completion = event
                    call.usage = event.usage
                if not call.heard:
                    call.heard = True
                    answer.calls.append(call)
                if isinstance(event, Completion):
                    continue
                call.said += sum(map(len, event))
                answer.add(event)
                if answer.kept is None:
                    journal.say(event)

    def _now(self) -> datetime:
        return self._clock()


def cancelled(answer: Answer) -> bool:
    """Whether somebody cancelled it."""
    return isinstance(answer.error, TurnCancelledError)
