"""Prompts and answers as Bedrock's Converse spells them."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
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

ORIGIN = "bedrock"
"""The provider's name in the catalogue, and on what only it can read."""

_STOPS: Mapping[str, Stop] = {
    "end_turn": "end",
    "stop_sequence": "end",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "refused",
    "content_filtered": "refused",
}
_MALFORMED = frozenset({"malformed_model_output", "malformed_tool_use"})
_NO_CALL_ID = re.compile(r"[^a-zA-Z0-9_-]")
_CALL_ID_LENGTH = 64
_SILENT = "The tool said nothing."
_GONE = "Not available any more. Do not call it."


def to_arguments(prompt: Prompt) -> dict[str, Any]:
    """The arguments of ConverseStream."""
    arguments: dict[str, Any] = {
        "modelId": prompt.model,
        "messages": list(_messages(prompt)),
    }
    if system := [{"text": wellformed(text)} for text in prompt.system if text.strip()]:
        arguments["system"] = system
    if tools := [*map(_tool, prompt.tools), *_tools_of_the_past(prompt)]:
        arguments["toolConfig"] = {"tools": tools}
    if prompt.max_output_tokens is not None:
        arguments["inferenceConfig"] = {"maxTokens": prompt.max_output_tokens}
    return arguments


def _messages(prompt: Prompt) -> Iterator[dict[str, Any]]:
    role, content = "", list[dict[str, Any]]()
    for said in prompt.utterances:
        blocks = [block for part in _in_order(said) for block in _blocks(part, prompt.model)]
        # Nothing may be left of another provider's answer; what then stands side by side is one.
        if blocks and said.role == role:
            content += blocks
        elif blocks:
            role, content = said.role, blocks
            yield {"role": role, "content": content}


def _in_order(said: Utterance) -> list[Part]:
    """Results of calls come first, and so does the reasoning that led to an answer."""
    return sorted(said.parts, key=lambda part: not isinstance(part, ToolResult | Opaque))


def _blocks(part: Part, model: str) -> Iterator[dict[str, Any]]:
    match part:
        case Text():
            # Blank texts are refused.
            if part.text.strip():
                yield {"text": wellformed(part.text)}
        case Image():
            format_ = part.media_type.removeprefix("image/")
            yield {"image": {"format": format_, "source": {"bytes": part.data}}}
        case ToolCall():
            use = {
                "toolUseId": _call_id(part.id),
                "name": part.name,
                "input": dict(part.arguments),
            }
            yield {"toolUse": use}
        case ToolResult():
            yield {"toolResult": _result(part)}
        case Opaque():
            # A signature is its model's own; another model of Bedrock's would refuse it.
            if part.origin == ORIGIN and part.content.get("model") == model:
                yield from _reasoning(part.content)


def _result(result: ToolResult) -> dict[str, Any]:
    text = result.content if result.content.strip() else _SILENT
    block: dict[str, Any] = {
        "toolUseId": _call_id(result.call_id),
        "content": [{"text": wellformed(text)}],
    }
    # Success is what is meant without a status, which not all models know.
    if result.is_error:
        block["status"] = "error"
    return block


def _reasoning(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if redacted := content.get("redacted"):
        yield {"reasoningContent": {"redactedContent": b64decode(redacted)}}
    elif signature := content.get("signature"):
        text = {"text": content.get("text", ""), "signature": signature}
        yield {"reasoningContent": {"reasoningText": text}}


def _tool(tool: Tool) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "name": tool.name,
        # The schema must say that it is an object's.
        "inputSchema": {"json": {"type": "object", **tool.parameters}},
    }
    if tool.description and tool.description.strip():
        spec["description"] = wellformed(tool.description)
    return {"toolSpec": spec}


def _tools_of_the_past(prompt: Prompt) -> Iterable[dict[str, Any]]:
    """Bedrock refuses calls in a history without any tools: those of then are named."""
    if prompt.tools:
        return ()
    called = (part for said in prompt.utterances for part in said.parts)
    names = dict.fromkeys(part.name for part in called if isinstance(part, ToolCall))
    return [_tool(Tool(name, _GONE, {})) for name in names]


def _call_id(call_id: str) -> str:
    """Ids that another provider gave may hold characters that this one refuses."""
    return _NO_CALL_ID.sub("_", call_id)[:_CALL_ID_LENGTH]


@dataclass(slots=True)
class _Block:
    """A content block as it grows."""

    tool: Mapping[str, Any] | None = None
    arguments: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    redacted: list[bytes] = field(default_factory=list)


class Answer:
    """A streamed answer: `read` its events one by one."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._blocks: dict[int, _Block] = {}
        self._reason: str | None = None
        self._usage: Usage | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the model said that it is done. Its usage may follow."""
        return self._reason is not None

    def read(self, event: Mapping[str, Any]) -> str:
        """The text that the event brings; most bring none."""
        if "contentBlockDelta" in event:
            return self._grow(event["contentBlockDelta"])
        if "contentBlockStart" in event:
            started = event["contentBlockStart"]
            tool = started["start"].get("toolUse")
            # A tool that the provider itself runs is none of the caller's.
            if tool and "type" not in tool:
                self._block(started).tool = tool
        elif "messageStop" in event:
            self._reason = event["messageStop"]["stopReason"]
        elif "metadata" in event:
            self._usage = _usage(event["metadata"])
        return ""

    def completion(self) -> Completion:
        """Of a whole answer. Raises `ProviderError` where the model spoiled it."""
        reason = self._reason or ""
        if reason in _MALFORMED:
            raise ProviderError("The model's output was malformed.")
        stop = _STOPS.get(reason, "end")
        blocks = [block for _, block in sorted(self._blocks.items())]
        calls = tuple(call for block in blocks if (call := _call(block, stop)))
        if stop == "tool_calls" and not calls:
            raise ProviderError("The model waits for a tool that it did not name.")
        opaque = tuple(kept for block in blocks if (kept := self._opaque(block)))
        return Completion(self._usage, stop, calls, opaque)

    def _grow(self, event: Mapping[str, Any]) -> str:
        delta: Mapping[str, Any] = event["delta"]
        if "text" in delta:
            return str(delta["text"])
        if "toolUse" in delta:
            self._block(event).arguments.append(delta["toolUse"]["input"])
        elif "reasoningContent" in delta:
            block, thought = self._block(event), delta["reasoningContent"]
            block.thoughts.append(thought.get("text", ""))
            block.signatures.append(thought.get("signature", ""))
            block.redacted.append(thought.get("redactedContent", b""))
        return ""

    def _block(self, event: Mapping[str, Any]) -> _Block:
        return self._blocks.setdefault(event.get("contentBlockIndex", 0), _Block())

    def _opaque(self, block: _Block) -> Opaque | None:
        if redacted := b"".join(block.redacted):
            content = {"redacted": b64encode(redacted).decode()}
        elif signature := "".join(block.signatures):
            content = {"text": "".join(block.thoughts), "signature": signature}
        else:
            # Reasoning that its model did not sign is not wanted back.
            return None
        return Opaque(ORIGIN, {"model": self._model, **content})


def _call(block: _Block, stop: Stop) -> ToolCall | None:
    if block.tool is None:
        return None
    arguments = json_object("".join(block.arguments).strip() or "{}")
    if arguments is not None:
        return ToolCall(block.tool["toolUseId"], block.tool["name"], arguments)
    if stop == "length":
        return None  # the call broke off with the answer, and is none
    raise ProviderError("It called a tool with arguments that are no JSON object.")


def _usage(metadata: Mapping[str, Any]) -> Usage | None:
    """Bedrock's `inputTokens` are those that no cache served or kept, as the user guide says under
    prompt caching. Reasoning is a part of `outputTokens` that is not told apart.
    """
    usage = metadata.get("usage")
    if not usage:
        return None
    return Usage(
        usage["inputTokens"],
        usage["outputTokens"],
        cache_read=usage.get("cacheReadInputTokens", 0),
        cache_write=usage.get("cacheWriteInputTokens", 0),
    )
