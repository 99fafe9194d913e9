"""Prompts and answers as Anthropic's Messages API spells them."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from functions.ai.adapters.json_object import json_object
from functions.ai.adapters.wellformed import wellformed
from functions.ai.domain.errors import ProviderError
from functions.ai.domain.inference import (
    Completion,
    Image,
    Opaque,
    Part,
    Prompt,
    Stop,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    Utterance,
)

ORIGIN = "anthropic"
"""The provider's name in the catalogue, and on what only it can read."""

_STOPS: Mapping[str, Stop] = {
    "end_turn": "end",
    "stop_sequence": "end",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    # It would go on if it were asked to: there is more to say.
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "refusal": "refused",
}
_NO_CALL_ID = re.compile(r"[^a-zA-Z0-9_-]")
_FAILED = "The tool failed."


def to_body(prompt: Prompt, default_max_tokens: int) -> bytes:
    """The request's JSON. The API demands a bound for the answer: the prompt's, or the default."""
    body: dict[str, Any] = {
        "model": prompt.model,
        "max_tokens": prompt.max_output_tokens or default_max_tokens,
        "stream": True,
        "messages": list(_messages(prompt.utterances)),
    }
    if system := [_text(text) for text in prompt.system if text.strip()]:
        body["system"] = system
    if prompt.tools:
        body["tools"] = [_tool(tool) for tool in prompt.tools]
    # Half a surrogate pair is no text, and the API would refuse all of it.
    return wellformed(json.dumps(body, ensure_ascii=False, separators=(",", ":"))).encode()


def _messages(utterances: Iterable[Utterance]) -> Iterator[dict[str, Any]]:
    for said in utterances:
        # What the API wants first: results of calls, and the thinking that led to an answer.
        parts = sorted(said.parts, key=lambda part: not isinstance(part, ToolResult | Opaque))
        content = [block for part in parts for block in _blocks(part)]
        # Of another provider's answer nothing may be left. Two of one side's in a row are allowed.
        if content:
            yield {"role": said.role, "content": content}


def _blocks(part: Part) -> Iterator[dict[str, Any]]:
    match part:
        case Text():
            # The API refuses blank texts.
            if part.text.strip():
                yield _text(part.text)
        case Image():
            data = b64encode(part.data).decode()
            source = {"type": "base64", "media_type": part.media_type, "data": data}
            yield {"type": "image", "source": source}
        case ToolCall():
            yield {
                "type": "tool_use",
                "id": _call_id(part.id),
                "name": part.name,
                "input": dict(part.arguments),
            }
        case ToolResult():
            yield _result(part)
        case Opaque():
            if part.origin == ORIGIN:
                yield dict(part.content)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _tool(tool: Tool) -> dict[str, Any]:
    spelt: dict[str, Any] = {
        "name": tool.name,
        # The API refuses the schema of a tool without arguments if it does not say so.
        "input_schema": {"type": "object", **tool.parameters},
    }
    if tool.description:
        spelt["description"] = tool.description
    return spelt


def _result(result: ToolResult) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": _call_id(result.call_id)}
    content = result.content if result.content.strip() else ""
    if result.is_error:
        block["is_error"] = True
        # The API refuses a failure without words.
        content = content or _FAILED
    if content:
        block["content"] = content
    return block


def _call_id(call_id: str) -> str:
    """Ids that another provider gave may hold characters that this one refuses."""
    return _NO_CALL_ID.sub("_", call_id)


@dataclass(slots=True)
class _Block:
    """A content block as it grows."""

    start: Mapping[str, Any]
    texts: list[str] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)


class Answer:
    """A streamed answer: `read` its events one by one until it `is_whole`."""

    def __init__(self) -> None:
        self.is_whole = False
        self.has_begun = False
        self._blocks: dict[Any, _Block] = {}
        self._usage: dict[str, Any] = {}
        self._is_counted = False
        self._stop: Stop = "end"

    def read(self, event: Mapping[str, Any]) -> str:
        """The text that the event brings; most bring none."""
        match event.get("type"):
            case "content_block_delta":
                self.has_begun = True
                return self._grow(self._blocks.get(event.get("index")), _object(event, "delta"))
            case "content_block_start":
                block = _Block(_object(event, "content_block"))
                self._blocks[event.get("index")] = block
                if block.start.get("type") == "text":
                    return _string(block.start, "text")
            case "message_start":
                self._count(_object(_object(event, "message"), "usage"))
            case "message_delta":
                self._count(usage := _object(event, "usage"))
                # What the first event says of the output is a placeholder.
                self._is_counted = "output_tokens" in usage
                reason = _string(_object(event, "delta"), "stop_reason")
                self._stop = _STOPS.get(reason, "end")
            case "message_stop":
                self.is_whole = True
        return ""

    def completion(self) -> Completion:
        """Of a whole answer. Raises `ProviderError` for a tool call whose arguments are none."""
        calls: list[ToolCall] = []
        opaque: list[Opaque] = []
        for block in self._blocks.values():
            match block.start.get("type"):
                case "thinking":
                    thinking = _thinking(block)
                    # Without its signature it broke off with the answer: nobody takes it back.
                    if thinking["signature"]:
                        opaque.append(Opaque(ORIGIN, thinking))
                case "redacted_thinking":
                    opaque.append(Opaque(ORIGIN, dict(block.start)))
                case "tool_use":
                    calls += self._call(block)
        return Completion(self._used(), self._stop, tuple(calls), tuple(opaque))

    def _grow(self, block: _Block | None, delta: Mapping[str, Any]) -> str:
        kind = delta.get("type")
        if kind == "text_delta":
            return _string(delta, "text")
        if block is None:
            return ""
        if kind == "input_json_delta":
            block.texts.append(_string(delta, "partial_json"))
        elif kind == "thinking_delta":
            block.texts.append(_string(delta, "thinking"))
        elif kind == "signature_delta":
            block.signatures.append(_string(delta, "signature"))
        return ""

    def _count(self, usage: Mapping[str, Any]) -> None:
        """Counts are of the whole answer so far: a later one replaces an earlier one."""
        self._usage.update((name, count) for name, count in usage.items() if count is not None)

    def _used(self) -> Usage | None:
        if not self._is_counted:
            return None
        output = _number(self._usage, "output_tokens")
        thought = _number(_object(self._usage, "output_tokens_details"), "thinking_tokens")
        reasoning = min(thought, output)
        return Usage(
            input=_number(self._usage, "input_tokens"),
            output=output - reasoning,
            cache_read=_number(self._usage, "cache_read_input_tokens"),
            cache_write=_number(self._usage, "cache_creation_input_tokens"),
            reasoning=reasoning,
        )

    def _call(self, block: _Block) -> Iterator[ToolCall]:
        arguments = _arguments(block)
        if arguments is not None:
            yield ToolCall(_string(block.start, "id"), _string(block.start, "name"), arguments)
        elif self._stop != "length":
            raise ProviderError("It called a tool with arguments that are no JSON object.")
        # Else the call broke off with the answer, and is none.


def event_of(data: str) -> Mapping[str, Any]:
    """An event's data. Raises `ProviderError` when they are no JSON object."""
    event = json_object(data)
    if event is None:
        raise ProviderError("An event of its stream is no JSON object.")
    return event


def _thinking(block: _Block) -> dict[str, Any]:
    return {
        **block.start,
        "thinking": _string(block.start, "thinking") + "".join(block.texts),
        "signature": _string(block.start, "signature") + "".join(block.signatures),
    }


def _arguments(block: _Block) -> Mapping[str, Any] | None:
    text = "".join(block.texts)
    return json_object(text) if text.strip() else _object(block.start, "input")


def _object(within: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = within.get(name)
    return value if isinstance(value, dict) else {}


def _string(within: Mapping[str, Any], name: str) -> str:
    value = within.get(name)
    return value if isinstance(value, str) else ""


def _number(within: Mapping[str, Any], name: str) -> int:
    value = within.get(name)
    return value if isinstance(value, int) and value > 0 else 0
