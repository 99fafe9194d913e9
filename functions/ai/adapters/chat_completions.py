"""The body of a Chat Completions request, in the dialects of those who serve it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from functions.ai.adapters.wellformed import wellformed
from functions.ai.domain.inference import (
    Image,
    Opaque,
    Part,
    Prompt,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Utterance,
)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server's dialect does, and does not."""

    drains: bool
    """See `ports.ModelProvider`."""

    output_limit: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"
    """The name of the bound of an answer's tokens."""

    signs_calls: bool = False
    """Whether tool calls carry a signature of the thinking before them, and need it back."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """What each request says besides."""


# `drains`: OpenRouter lists the providers at which closing a stream "immediately stops model
# processing and billing" (openrouter.ai/docs/api-reference/streaming, "Stream Cancellation"):
# OpenAI is one, Google AI Studio is "not currently supported". Ollama and vLLM, which bill nobody,
# stop working when the connection closes (ollama/ollama issue 2876, vllm-project/vllm PR 32442).
OPENAI = Capabilities(
    drains=False,
    output_limit="max_completion_tokens",
    # New accounts keep chat completions for their dashboard unless the request says otherwise.
    options={"store": False},
)
GEMINI = Capabilities(drains=True, signs_calls=True)
COMPATIBLE = Capabilities(drains=False)

# What Google documents for calls that another model made, or a thinking that is lost: without it
# the whole conversation is refused (ai.google.dev/gemini-api/docs/thought-signatures).
_UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}
_NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}


def request_body(prompt: Prompt, origin: str, capabilities: Capabilities) -> bytes:
    """The JSON to send. Opaque parts are handed back to the provider of their origin alone."""
    body: dict[str, Any] = {
        "model": prompt.model,
        "messages": list(_messages(prompt, origin, capabilities)),
        "stream": True,
        "stream_options": {"include_usage": True},
        **capabilities.options,
    }
    if prompt.tools:
        body["tools"] = [_tool(tool) for tool in prompt.tools]
    if prompt.max_output_tokens is not None:
        body[capabilities.output_limit] = prompt.max_output_tokens
    return wellformed(json.dumps(body, ensure_ascii=False, separators=(",", ":"))).encode()


def signature(call_id: str, origin: str, content: Mapping[str, Any]) -> Opaque:
    """The part that keeps what came with a tool call, for `request_body` to hand back."""
    return Opaque(origin, {"tool_call_id": call_id, "extra_content": content})


def _messages(prompt: Prompt, origin: str, capabilities: Capabilities) -> Iterator[dict[str, Any]]:
    if prompt.system:
        # One message: the chat templates of open models take no second.
        yield {"role": "system", "content": "\n\n".join(prompt.system)}
    for said in prompt.utterances:
        if said.role == "user":
            yield from _user(said.parts)
        else:
            yield from _assistant(said, origin, capabilities)


def _user(parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
    for part in parts:
        if isinstance(part, ToolResult):
            # The dialect has no word for a tool that failed.
            content = f"The tool failed: {part.content}" if part.is_error else part.content
            yield {"role": "tool", "tool_call_id": part.call_id, "content": content}
    said = [_user_part(part) for part in parts if isinstance(part, Text | Image)]
    if len(said) == 1 and said[0]["type"] == "text":
        yield {"role": "user", "content": said[0]["text"]}
    elif said:
        yield {"role": "user", "content": said}


def _user_part(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    url = f"data:{part.media_type};base64,{b64encode(part.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _assistant(
    said: Utterance, origin: str, capabilities: Capabilities
) -> Iterator[dict[str, Any]]:
    texts = [part.text for part in said.parts if isinstance(part, Text)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "\n\n".join(texts) if texts else None,
    }
    calls = [_call(part) for part in said.parts if isinstance(part, ToolCall)]
    if calls:
        if capabilities.signs_calls:
            _sign(calls, _kept(said.parts, origin))
        message["tool_calls"] = calls
    if texts or calls:
        yield message


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _kept(parts: Iterable[Part], origin: str) -> dict[str, Any]:
    """What came with the calls, by their ids."""
    return {
        part.content["tool_call_id"]: part.content["extra_content"]
        for part in parts
        if isinstance(part, Opaque) and part.origin == origin and "tool_call_id" in part.content
    }


def _sign(calls: Sequence[dict[str, Any]], kept: Mapping[str, Any]) -> None:
    """Of calls that were made at once the first alone is signed."""
    for number, call in enumerate(calls):
        if extra := kept.get(call["id"]):
            call["extra_content"] = extra
        elif number == 0:
            call["extra_content"] = _UNSIGNED


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters or _NO_ARGUMENTS}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}
