"""What a turn has its model asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from functions.ai.domain.asking import Asked, Question
from functions.ai.domain.catalogue import Model
from functions.ai.domain.context import fit
from functions.ai.domain.errors import ContextTooLongError
from functions.ai.domain.image_loader import bounded, shown
from functions.ai.domain.models import Message
from functions.ai.domain.prompts import to_prompt
from functions.ai.domain.summaries import NO_RECALL, Recall, Summary, untold
from functions.ai.domain.turns import Turn


@dataclass(frozen=True, slots=True)
class Work:
    """A turn that is ready to call its model. One that `returns` is queued again after an error
    that may pass, and nothing is left of what was said. Where it is `restartable`, whoever listens
    can be told that the answer begins anew.
    """

    turn: Turn
    model: Model
    history: Sequence[Message]
    recall: Recall = NO_RECALL
    returns: bool = False
    restartable: bool = True

    @property
    def question(self) -> Question:
        """The turn's."""
        return Question(self.turn, self.model, self.prompt, restartable=self.restartable)

    def prompt(self, model: Model) -> Asked:
        """The question with as much of what came before as the model has room for.

        Raises `ContextTooLongError`.
        """
        summary = self.recall.summary
        if summary is None:
            return self._after(None, model)
        try:
            return self._after(summary, model)
        except ContextTooLongError:
            # A model with a small window may have room for the question and for nothing else.
            return self._after(None, model)

    def _after(self, summary: Summary | None, model: Model) -> Asked:
        question = self.history[-1].draft
        prompt = replace(
            shown(to_prompt(model.name, self.history, summary.up_to if summary else 0), model),
            tools=question.tools,
            max_output_tokens=question.max_output_tokens,
        )
        preface = summary.preface if summary else None
        fitted = fit(prompt, model.context_window, question.max_output_tokens, preface)
        left_out = None
        if self.recall.wanted and summary is self.recall.summary:
            left_out = untold(self.history, summary, fitted)
        return Asked(bounded(fitted.prompt), left_out)
