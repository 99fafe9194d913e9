"""A summary in the place of a session's oldest messages.

It stands before the user's first words, as the user's: as a system text the words of a user would
gain its authority, as an answer the model would be said to have given it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from functions.ai.domain.context import Fitted
from functions.ai.domain.models import Message
from functions.ai.domain.prompts import arrange

_HEADING = "Summary of the conversation before this message:"


@dataclass(frozen=True, slots=True)
class Summary:
    """What the messages up to the sequence `up_to` said; system messages are not in it."""

    text: str
    up_to: int
    created_at: datetime

    @property
    def preface(self) -> str:
        """For `context.fit`."""
        return f"{_HEADING}\n{self.text}"


@dataclass(frozen=True, slots=True)
class Recall:
    """The summary that a turn's prompt begins with, if any, and whether one is `wanted` of what the
    prompt leaves out.
    """

    wanted: bool = False
    summary: Summary | None = None


NO_RECALL = Recall()


def untold(history: Sequence[Message], summary: Summary | None, fitted: Fitted) -> int | None:
    """The sequence of the last message that is neither in the fitted prompt nor told of by the
    summary that the prompt begins behind; None where there is none.
    """
    up_to = summary.up_to if summary else 0
    after = [message for message in history if message.sequence > up_to]
    said = arrange(after)
    if not said or not (fitted.start or _gap(history, after, up_to)):
        return None
    return said[fitted.start].sequence - 1


def _gap(history: Sequence[Message], after: Sequence[Message], up_to: int) -> bool:
    """Whether messages are missing that were not read."""
    read = {up_to, *(message.sequence for message in history)}
    return any(message.sequence - 1 not in read for message in after)
