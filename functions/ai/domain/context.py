"""Fits a prompt into its model's window: the oldest exchanges are left out, whole.

An exchange is a message of the user's and all that followed until the next one, tool calls and
their results included. The system prompt, the tools and the newest exchange stay. Of a newest
exchange that is too long by itself (an agent at work for many rounds) the oldest rounds of calls
and results go, never its question or its last round.

Providers keep a cache of how prompts begin, and a prompt that begins elsewhere every turn never
meets it. So the history is cut in steps: when it has outgrown its room, it is cut to somewhere
between all of the room and three quarters of it, at the exchange whose digest is the least of those
where a cut is possible. As the conversation grows, that exchange stays the least until it no longer
fits or a lesser one comes near: on average the cut moves once in as many turns as an eighth of the
room holds. It depends on the prompt alone: nothing is stored, and it does not matter how far back
the history was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import accumulate, pairwise

from functions.ai.domain.errors import ContextTooLongError
from functions.ai.domain.inference import Image, Prompt, Text, ToolResult, Utterance
from functions.ai.domain.tokens import prompt_tokens, text_tokens, utterance_tokens

DEFAULT_ANSWER_TOKENS = 8_192
"""Room for an answer of which nobody says how long it may be; in small windows a quarter."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt that fits. `left_out` counts the utterances that do not, `start` those before the
    first that does; they differ where rounds of the newest exchange are left out.
    """

    prompt: Prompt
    left_out: int
    start: int


def fit(
    prompt: Prompt, window: int | None, max_output: int | None = None, preface: str | None = None
) -> Fitted:
    """The prompt without what its model has no room for; all of it where the window is unknown.

    `preface` stands before the first words that are kept: a summary of earlier ones. Raises
    `ContextTooLongError` when the newest exchange does not fit.
    """
    said = prompt.utterances
    if window is None or not said:
        return Fitted(replace(prompt, utterances=_prefaced(said, preface)), 0, 0)
    answer = _answer_tokens(window, max_output)
    fixed = prompt_tokens(replace(prompt, utterances=())) + text_tokens(preface or "")
    room = window - answer - fixed
    exchanges = _exchanges(said)
    start = exchanges[_cut(exchanges, room)][0].index
    kept, rounds_out = _without_rounds(said[start:], room)
    if (needed := sum(map(utterance_tokens, kept))) > room:
        raise ContextTooLongError(
            f"The newest message takes about {needed} tokens, the system prompt and tools {fixed}."
            f" The model has room for {window - answer}, next to an answer of {answer}."
        )
    fitted = replace(prompt, utterances=_prefaced(kept, preface))
    return Fitted(fitted, start + rounds_out, start)


@dataclass(frozen=True, slots=True)
class _Indexed:
    index: int
    said: Utterance


_Unit = Sequence[_Indexed]


def _answer_tokens(window: int, max_output: int | None) -> int:
    """Some models may answer as long as their window is; half of it remains for the question."""
    if max_output is None:
        return min(DEFAULT_ANSWER_TOKENS, window // 4)
    return min(max_output, window // 2)


def _exchanges(said: Sequence[Utterance]) -> list[_Unit]:
    indexed = [_Indexed(index, utterance) for index, utterance in enumerate(said)]
    starts = [item.index for item in indexed if item.index == 0 or _is_question(item.said)]
    return [indexed[start:end] for start, end in pairwise([*starts, len(indexed)])]


def _is_question(said: Utterance) -> bool:
    return said.role == "user" and not any(isinstance(part, ToolResult) for part in said.parts)


def _cut(units: Sequence[_Unit], room: int) -> int:
    """How many units to leave out; the last one never."""
    newest_first = accumulate(sum(utterance_tokens(item.said) for item in u) for u in units[::-1])
    behind = list(newest_first)[::-1]  # from each unit to the end
    if behind[0] <= room:
        return 0
    last = len(units) - 1
    nearest = next((place for place, size in enumerate(behind) if size <= room), last)
    farthest = next((place for place, size in enumerate(behind) if size <= room * 3 // 4), last)
    return min(range(nearest, farthest + 1), key=lambda place: _digest(units[place]))


def _without_rounds(said: Sequence[Utterance], room: int) -> tuple[Sequence[Utterance], int]:
    """The newest exchange without its oldest rounds, and how many utterances those are."""
    if sum(map(utterance_tokens, said)) <= room:
        return said, 0
    indexed = [_Indexed(index, utterance) for index, utterance in enumerate(said)]
    rounds = [indexed[start : start + 2] for start in range(1, len(said), 2)]
    if not rounds:
        return said, 0
    cut = 2 * _cut(rounds, room - utterance_tokens(said[0]))
    return (said[0], *said[1 + cut :]), cut


def _digest(unit: _Unit) -> bytes:
    digest = blake2b(digest_size=16)
    for item in unit:
        for part in item.said.parts:
            digest.update(part.data if isinstance(part, Image) else repr(part).encode())
    return digest.digest()


def _prefaced(said: Sequence[Utterance], preface: str | None) -> tuple[Utterance, ...]:
    if not preface or not said:
        return tuple(said)
    first = replace(said[0], parts=(Text(preface), *said[0].parts))
    return (first, *said[1:])
