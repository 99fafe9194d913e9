"""A summary in the place of a session's oldest messages.

It stands before the user's first words, as the user's: as a system text the words of a user would
gain its authority, as an answer the model would be said to have given it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from functions.ai.domain.context import Fitted
from functions.ai.domain.inference import Prompt
from functions.ai.domain.models import Message
from functions.ai.domain.prompts import arrange, system_texts

_HEADING = "Summary of the conversation before this message:"


@dataclass(frozen=True, slots=True)
class Summary:
    """What the messages up to the sequence `up_to` said; system messages are not in it."""

    text: str
    up_to: int

    @property
    def preface(self) -> str:
        """For `context.fit`."""
        return f"{_HEADING}\n{self.text}"


def to_prompt_after(model: str, history: Sequence[Message], summary: Summary | None) -> Prompt:
    """The prompt of what the summary does not tell; `context.fit` puts its preface before it."""
    said = tuple(placed.utterance for placed in arrange(_after(history, summary)))
    return Prompt(model, system_texts(history), said)


def next_to_summarise(
    history: Sequence[Message], summary: Summary | None, fitted: Fitted
) -> list[Message]:
    """The messages that the prompt of `to_prompt_after` lost when it was fitted, oldest first.

    The next summary tells of them and of the summary of now; its `up_to` is the sequence of the
    last one.
    """
    after = _after(history, summary)
    if not fitted.start:
        return []
    first_kept = arrange(after)[fitted.start].sequence
    return [m for m in after if m.sequence < first_kept and m.draft.role != "system"]


def _after(history: Sequence[Message], summary: Summary | None) -> list[Message]:
    up_to = summary.up_to if summary else 0
    return [message for message in history if message.sequence > up_to]
