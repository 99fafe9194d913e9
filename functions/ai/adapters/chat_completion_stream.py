"""What a streamed chat completion says, chunk by chunk.

A chunk is read with `json` and no more: the SDK's object of each costs 20 times the CPU. Servers
differ in what they leave out, so every field is looked at before it is believed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, NoReturn

from functions.ai.adapters.chat_completions import signature
from functions.ai.adapters.openai_errors import refusal
from functions.ai.adapters.wellformed import Mender, wellformed
from functions.ai.domain.errors import ProviderError, ProviderUnavailableError
from functions.ai.domain.inference import Completion, Opaque, Stop, ToolCall, Usage

DONE = "[DONE]"

_COMPLETE = frozenset({"stop", "tool_calls", "function_call"})


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    extra: Mapping[str, Any] | None = None


class Answer:
    """One answer of the provider `origin`. `read` it to its end, then `complete` it.

    `begun` says that content came, of whatever kind, `done` that no more chunk will.
    """

    def __init__(self, origin: str) -> None:
        self.begun = False
        self.done = False
        self._origin = origin
        self._finish: str | None = None
        self._usage: Mapping[str, Any] | None = None
        self._refused = False
        self._calls: list[_Call] = []
        self._open: dict[int | None, _Call] = {}
        self._mender = Mender()

    def read(self, data: str) -> str:
        """The text that a chunk adds. Raises the error that it tells of."""
        if self.done:
            return ""
        if data == DONE:
            self.done = True
            return self._mender.rest()
        chunk = _parsed(data)
        # Gemini's errors stand in a list; vLLM's may be what the chunk is.
        if (
            isinstance(chunk, list)
            or _mapping(chunk).get("error")
            or chunk.get("object") == "error"
        ):
            raise refusal(self._origin, chunk)
        text = ""
        choices = chunk.get("choices")
        if choices and isinstance(choices, list):
            text = self._read_choice(_mapping(choices[0]))
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            # Some say it with every chunk, as it grows.
            self._usage = usage
        return text

    def _read_choice(self, choice: Mapping[str, Any]) -> str:
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            self._finish = finish
        delta = choice.get("delta")
        if not delta:
            return ""
        text = _mapping(delta).get("content")
        said = ""
        if text and isinstance(text, str):
            self.begun = True
            said = self._mender.mend(text)
        return said + self._read_rest(delta) if len(delta) > 1 or not said else said

    def _read_rest(self, delta: Mapping[str, Any]) -> str:
        """What is no text: tool calls, a refusal's words, or thinking, which is a sign of life."""
        if calls := delta.get("tool_calls"):
            self.begun = True
            for call in calls if isinstance(calls, list) else _malformed():
                self._read_call(_mapping(call))
        words = delta.get("refusal")
        if isinstance(words, str) and words:
            self.begun = self._refused = True
            return self._mender.mend(words)
        if delta.get("reasoning_content") or delta.get("reasoning"):
            self.begun = True
        return ""

    def _read_call(self, delta: Mapping[str, Any]) -> None:
        function = _mapping(delta.get("function") or {})
        call = self._call_of(delta, function)
        call.id = call.id or _text(delta.get("id"))
        call.name = call.name or _text(function.get("name"))
        call.arguments.append(_text(function.get("arguments")))
        extra = delta.get("extra_content")
        if isinstance(extra, dict):
            call.extra = extra

    def _call_of(self, delta: Mapping[str, Any], function: Mapping[str, Any]) -> _Call:
        """The call that a delta belongs to.

        Gemini sends calls whole, and has given several the same index, or none.
        """
        index, call_id = delta.get("index"), delta.get("id")
        if not (index is None or isinstance(index, int)):
            _malformed()
        call = self._open.get(index)
        if (
            call is None
            or (call_id and call.id and call_id != call.id)
            or (index is None and function.get("name") and call.name)
        ):
            call = self._open[index] = _Call()
            self._calls.append(call)
        return call

    def complete(self) -> Completion:
        """The end. Raises `ProviderUnavailableError` when it has not come."""
        if self._finish is None:
            raise ProviderUnavailableError("The answer broke off.")
        usage = _usage(self._usage) if self._usage else None
        stop = self._stop(self._finish)
        if stop != "tool_calls":
            # The last call of an answer that was cut may be half, and nobody answers the others.
            return Completion(usage, stop)
        calls: list[ToolCall] = []
        opaque: list[Opaque] = []
        for call in self._calls:
            call_id = wellformed(call.id) or f"call_{token_hex(12)}"
            made = ToolCall(call_id, wellformed(call.name), _arguments(call))
            calls.append(made)
            if call.extra is not None:
                opaque.append(signature(made.id, self._origin, call.extra))
        return Completion(usage, stop, tuple(calls), tuple(opaque))

    def _stop(self, finish: str) -> Stop:
        # Gemini adds its own reason: "content_filter: SAFETY".
        if self._refused or finish.startswith("content_filter"):
            return "refused"
        if finish == "length":
            return "length"
        if finish not in _COMPLETE:
            # Gemini's "function_call_filter: MALFORMED_FUNCTION_CALL", vLLM's "abort".
            raise ProviderError("The answer did not come to its end.")
        if self._calls:
            # Gemini and Ollama say "stop" as well.
            return "tool_calls"
        return "end" if finish == "stop" else _malformed()


def _arguments(call: _Call) -> dict[str, Any]:
    text = "".join(call.arguments)
    if not call.name:
        _malformed()
    # Servers leave the arguments out where a tool has none.
    arguments = _parsed(text) if text else {}
    try:
        # Python's reader takes numbers that JSON has not, and halves of characters.
        said = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    except ValueError:
        _malformed()
    arguments = json.loads(wellformed(said))
    return arguments if isinstance(arguments, dict) else _malformed()


def _usage(told: Mapping[str, Any]) -> Usage | None:
    """Disjoint buckets of the counts, in which caches are part of the prompt.

    OpenAI counts reasoning into the completion. Gemini's endpoint (xAI's as well) leaves it out of
    both, or out of the completion alone; the total has it, at all of them.
    """
    prompt, completion = told.get("prompt_tokens"), told.get("completion_tokens")
    if not (isinstance(prompt, int) and isinstance(completion, int)):
        return None
    read = min(_count(told, "prompt_tokens_details", "cached_tokens"), prompt)
    written = min(_count(told, "prompt_tokens_details", "cache_write_tokens"), prompt - read)
    reasoning = _count(told, "completion_tokens_details", "reasoning_tokens")
    total = told.get("total_tokens")
    beside = total - prompt - completion if isinstance(total, int) else 0
    if beside > 0:
        reasoning, output = beside, completion
    else:
        reasoning = min(reasoning, completion)
        output = completion - reasoning
    return Usage(prompt - read - written, output, read, written, reasoning)


def _count(told: Mapping[str, Any], group: str, name: str) -> int:
    details = told.get(group)
    count = details.get(name) if isinstance(details, dict) else None
    return count if isinstance(count, int) and count > 0 else 0


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _malformed()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else _malformed()


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _malformed()


def _malformed() -> NoReturn:
    raise ProviderError("Its answer is malformed.")
