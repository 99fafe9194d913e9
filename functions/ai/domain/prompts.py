"""A session's messages as a model wants them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import cast

from functions.ai.domain.inference import Prompt, Side, Text, Utterance
from functions.ai.domain.models import Message


def to_prompt(model: str, history: Sequence[Message]) -> Prompt:
    """System texts apart; utterances that alternate, beginning with the user's.

    Models refuse empty texts, two utterances of one side in a row and an assistant who begins:
    the first are left out, the second merged, the third left out. So is an answer that broke off
    when a complete one to the same message followed.
    """
    completed = {m.draft.reply_to for m in history if m.draft.reply_to and not m.draft.incomplete}
    kept = [
        message.draft
        for message in history
        if message.draft.content.strip()
        and not (message.draft.incomplete and message.draft.reply_to in completed)
    ]
    utterances = [
        Utterance(
            cast("Side", role),
            tuple(Text(draft.content) for draft in drafts),
        )
        for role, drafts in groupby(
            (draft for draft in kept if draft.role != "system"), key=lambda draft: draft.role
        )
    ]
    if utterances and utterances[0].role == "assistant":
        del utterances[0]
    system = tuple(draft.content for draft in kept if draft.role == "system")
    return Prompt(model, system, tuple(utterances))
