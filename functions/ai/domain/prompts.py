"""A session's messages as a model wants them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from functions.ai.domain.inference import (
    Part,
    Prompt,
    Side,
    Text,
    ToolCall,
    ToolResult,
    Utterance,
)
from functions.ai.domain.models import Draft, Message
from functions.ai.domain.tool_data import calls_from_wire, results_from_wire

NO_RESULT = "This call was not answered: the conversation went on without its result."


@dataclass(frozen=True, slots=True)
class Placed:
    """An utterance, and the sequence of the message that it begins with."""

    utterance: Utterance
    sequence: int


def to_prompt(model: str, history: Sequence[Message], after: int = 0) -> Prompt:
    """System texts apart; utterances that alternate, beginning with the user's. See `arrange`.

    Of what was said only what comes behind the sequence `after`, of the system texts all.
    """
    said = arrange([message for message in history if message.sequence > after])
    return Prompt(model, system_texts(history), tuple(placed.utterance for placed in said))


def system_texts(history: Iterable[Message]) -> tuple[str, ...]:
    """The texts of the system messages, without the blank ones."""
    drafts = (message.draft for message in history)
    return tuple(
        draft.content for draft in drafts if draft.role == "system" and draft.content.strip()
    )


def arrange(history: Sequence[Message]) -> list[Placed]:
    """What both sides said, in the order that all providers take.

    - Images come before their message's text.
    - Blank texts are left out, what one side said in a row is one utterance, and an assistant who
      begins is left out with the results of its calls.
    - An answer that broke off is left out when a complete one to the same message followed.
    - Results stand right behind their calls, all of them, before the user's other words. A result
      without its call is left out; a call without its result is answered by an error. It is not
      left out instead, for the reasoning that led to it may be signed, and OpenAI and Anthropic
      refuse reasoning without what followed it. An error result is something that all know.
    - What only its provider can read stands before the answer's text and calls.
    """
    said = _Said()
    spoken = _spoken(history)
    for index, message in enumerate(spoken):
        if message.draft.role == "user":
            said.add("user", message.sequence, _shown(message.draft))
        else:
            _add_answer(said, message, _results_after(spoken, index))
    said.begin_with_user()
    return said.placed


@dataclass(slots=True)
class _Said:
    placed: list[Placed] = field(default_factory=list)

    def add(self, role: Side, sequence: int, parts: Sequence[Part]) -> None:
        if not parts:
            return
        if self.placed and self.placed[-1].utterance.role == role:
            last = self.placed.pop()
            sequence, parts = last.sequence, (*last.utterance.parts, *parts)
        self.placed.append(Placed(Utterance(role, tuple(parts)), sequence))

    def begin_with_user(self) -> None:
        while self.placed and self.placed[0].utterance.role == "assistant":
            del self.placed[0]
            if not self.placed:
                return
            first = self.placed.pop(0)
            # Their calls are gone.
            parts = [part for part in first.utterance.parts if not isinstance(part, ToolResult)]
            if parts:
                self.placed.insert(0, Placed(Utterance("user", tuple(parts)), first.sequence))


def _spoken(history: Sequence[Message]) -> list[Message]:
    completed = {m.draft.reply_to for m in history if m.draft.reply_to and not m.draft.incomplete}
    return [
        message
        for message in history
        if message.draft.role != "system"
        and not (message.draft.incomplete and message.draft.reply_to in completed)
    ]


def _add_answer(said: _Said, message: Message, after: dict[str, ToolResult]) -> None:
    draft, text = message.draft, _text(message.draft)
    calls = calls_from_wire(draft.tool_calls)
    if not calls:
        if text:
            said.add("assistant", message.sequence, [*_opaque(draft), *text])
        return
    # A message of earlier days may hold calls, their results and what was said after them.
    own = {result.call_id: result for result in results_from_wire(draft.tool_results)}
    concluded = bool(own.keys() & {call.id for call in calls})
    before, behind = ((), text) if concluded else (text, ())
    said.add("assistant", message.sequence, [*_opaque(draft), *before, *calls])
    said.add("user", message.sequence, [_answered(call, after | own) for call in calls])
    said.add("assistant", message.sequence, behind)


def _results_after(spoken: Sequence[Message], index: int) -> dict[str, ToolResult]:
    """The results that the user's messages right behind an answer bring."""
    return {result.call_id: result for result in reversed(list(_results(spoken, index + 1)))}


def _results(spoken: Sequence[Message], start: int) -> Iterator[ToolResult]:
    for place in range(start, len(spoken)):
        draft = spoken[place].draft
        if draft.role != "user":
            return
        yield from results_from_wire(draft.tool_results)


def _answered(call: ToolCall, results: Mapping[str, ToolResult]) -> ToolResult:
    return results.get(call.id) or ToolResult(call.id, NO_RESULT, is_error=True)


def _text(draft: Draft) -> tuple[Text, ...]:
    return (Text(draft.content),) if draft.content.strip() else ()


def _shown(draft: Draft) -> tuple[Part, ...]:
    """Images come before the words that speak of them, as Anthropic's guide "Vision" advises."""
    return (*draft.images, *_text(draft))


def _opaque(draft: Draft) -> Sequence[Part]:
    return () if draft.incomplete else draft.opaque
