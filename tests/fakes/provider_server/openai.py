"""OpenAI's Chat Completions API, and what is common to those who serve it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.fakes.model_script import ToolUse, split, tokens
from tests.fakes.provider_server.dialect import Asked, Frame, Refusal, Reply, Used

_FAILURES: Mapping[str, tuple[int, str, str | None, str]] = {
    "auth": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided"),
    "billing": (429, "insufficient_quota", "insufficient_quota", "You exceeded your quota"),
    "forbidden": (403, "request_forbidden", "unsupported_country_region_territory", "Not here"),
    "internal": (500, "server_error", None, "The server had an error"),
    "invalid": (400, "invalid_request_error", None, "The request is invalid."),
    "not_found": (404, "invalid_request_error", "model_not_found", "The model does not exist"),
    "overloaded": (503, "service_unavailable_error", "server_is_overloaded", "Overloaded"),
    "rate_limit": (429, "tokens", "rate_limit_exceeded", "Rate limit reached"),
    "refused": (400, "invalid_request_error", "invalid_prompt", "Your prompt was flagged"),
    "timeout": (504, "timeout", None, "The request timed out"),
    "too_large": (413, "invalid_request_error", None, "Maximum content size limit exceeded"),
    "too_long": (
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 128000 tokens.",
    ),
    "unavailable": (503, "server_error", None, "Service unavailable"),
}
_ID = "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG"
_CREATED = 1741570283
_ARGUMENT_PIECES = 3
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})

Problem = str | None


class OpenAI:
    """`dialect.Dialect` of OpenAI."""

    path = "/v1/chat/completions"
    needs_key = True
    # Fields that this server does not know, or has under another name.
    unknown = frozenset({"max_tokens"})

    def refusal(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Refusal | None:
        if self.needs_key and not headers.get("authorization", "").startswith("Bearer "):
            return Refusal("auth", "You didn't provide an API key.")
        if problem := self.problem(body):
            return Refusal("invalid", problem)
        return None

    def problem(self, body: Mapping[str, Any]) -> Problem:
        """Why the API would refuse the body, if it would."""
        if unknown := sorted(self.unknown & body.keys()):
            return f"Unsupported parameter: {unknown[0]}"
        messages = body.get("messages")
        if not isinstance(body.get("model"), str):
            return "you must provide a model parameter"
        if not isinstance(messages, list) or not messages:
            return "messages: array too short"
        calls = [call for message in messages for call in message.get("tool_calls", ())]
        return (
            next(filter(None, map(_bad_message, messages)), None)
            or _unanswered(messages)
            or self.bad_calls(calls)
        )

    def bad_calls(self, calls: Sequence[Mapping[str, Any]]) -> Problem:
        """Why the API would refuse the tool calls of a history, if it would."""
        if any("extra_content" in call for call in calls):
            return "Unknown parameter: 'tool_calls[0].extra_content'"
        return None

    def asked(self, body: Mapping[str, Any]) -> Asked:
        messages = body["messages"]
        return Asked(
            model=body["model"],
            stream=body.get("stream") is True,
            text=_last_text(messages),
            turn=sum(message["role"] == "user" for message in messages),
            tokens=tokens(*(text for message in messages for text in _texts(message))),
            wants_usage=body.get("stream") is not True
            or bool(body.get("stream_options", {}).get("include_usage")),
        )

    def frames(self, reply: Reply) -> Sequence[Frame]:
        return tuple(self._frames(reply))

    def _frames(self, reply: Reply) -> Iterator[Frame]:
        yield from (Frame(b": keep-alive\n\n", ping=True) for _ in range(reply.pings))
        yield Frame(self.event(reply, {"role": "assistant", "content": "", "refusal": None}))
        for delta in self.deltas(reply):
            yield Frame(self.event(reply, delta), chunk=True)
        yield Frame(self.event(reply, {}, finish=self.finish(reply)))
        if reply.used:
            usage = {**_chunk(reply), "choices": [], "usage": self.usage(reply.used)}
            yield Frame(_event(usage))
        yield Frame(b"data: [DONE]\n\n")

    def event(self, reply: Reply, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        """A chunk with a delta."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk: dict[str, Any] = {**_chunk(reply), "choices": [choice]}
        if reply.used:
            chunk["usage"] = None
        return _event(chunk)

    def deltas(self, reply: Reply) -> Iterator[Mapping[str, Any]]:
        """The content. What the model thinks is told by the count of its tokens alone."""
        field = "refusal" if reply.stop == "refusal" else "content"
        yield from ({field: text} for text in reply.chunks)
        for number, tool in enumerate(reply.tools):
            yield from self.call_deltas(reply, number, tool)

    def call_deltas(self, reply: Reply, number: int, tool: ToolUse) -> Iterator[Mapping[str, Any]]:
        """A tool call: its name first, then its arguments piece by piece."""
        head = {**_call(reply, number, ToolUse(tool.name, "")), "index": number}
        yield {"tool_calls": [head]}
        for piece in split(tool.arguments, _ARGUMENT_PIECES) if tool.arguments else ():
            yield {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}

    def finish(self, reply: Reply) -> str:
        """The reason that is told for the end."""
        if reply.stop == "refusal":
            return "stop"
        return reply.stop or ("tool_calls" if reply.tools else "stop")

    def usage(self, used: Used) -> Mapping[str, Any]:
        """The counts: what caches served is part of the prompt, reasoning of the completion."""
        prompt = used.input + used.cache_read + used.cache_write
        completion = used.output + used.reasoning
        details = {"cached_tokens": used.cache_read, "audio_tokens": 0}
        if used.cache_write:
            details["cache_write_tokens"] = used.cache_write
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": details,
            "completion_tokens_details": {
                "reasoning_tokens": used.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def whole(self, reply: Reply) -> bytes:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(reply.chunks) or None,
            "refusal": None,
        }
        if reply.tools:
            message["tool_calls"] = [_call(reply, *numbered) for numbered in enumerate(reply.tools)]
        choice = {"index": 0, "message": message, "finish_reason": self.finish(reply)}
        body: dict[str, Any] = {**_chunk(reply), "object": "chat.completion", "choices": [choice]}
        if reply.used:
            body["usage"] = self.usage(reply.used)
        return _json(body)

    def failure(self, name: str, message: str) -> tuple[int, bytes]:
        return _FAILURES[name][0], _json(self.error(name, message))

    def error_event(self, name: str, message: str) -> bytes:
        return _event(self.error(name, message))

    def error(self, name: str, message: str) -> Any:
        """The body of a failure."""
        _, kind, code, words = _FAILURES[name]
        said = message if name == "invalid" else f"{words} ({message})"
        return {"error": {"message": said, "type": kind, "param": None, "code": code}}


def _chunk(reply: Reply) -> dict[str, Any]:
    return {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": reply.model,
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _call(reply: Reply, number: int, tool: ToolUse) -> dict[str, Any]:
    function = {"name": tool.name, "arguments": tool.arguments}
    return {"id": call_id(reply, number), "type": "function", "function": function}


def call_id(reply: Reply, number: int) -> str:
    """The id of a tool call."""
    return f"call_{reply.turn:02}{number:02}"


def _bad_message(message: Mapping[str, Any]) -> Problem:
    if message.get("role") not in _ROLES:
        return "messages: invalid role"
    content = message.get("content")
    if isinstance(content, str) or (content is None and message.get("tool_calls")):
        return None
    if not isinstance(content, list) or not content:
        return "messages: invalid content"
    return next(filter(None, map(_bad_part, content)), None)


def _bad_part(part: Mapping[str, Any]) -> Problem:
    match part:
        case {"type": "text", "text": str()}:
            return None
        case {"type": "image_url", "image_url": {"url": str(url)}} if url.startswith("data:image/"):
            return None
        case _:
            return f"messages: invalid content part {part.get('type')!r}"


def _unanswered(messages: Sequence[Mapping[str, Any]]) -> Problem:
    """Calls without their results, and results without their calls."""
    waiting: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            if message.get("tool_call_id") not in waiting:
                return "messages with role 'tool' must be a response to a preceding message"
            waiting.discard(message["tool_call_id"])
            continue
        if waiting:
            break
        calls = message.get("tool_calls", ())
        if any(not isinstance(call["function"]["arguments"], str) for call in calls):
            return "Invalid type for 'tool_calls[0].function.arguments'"
        waiting = {call["id"] for call in calls}
    return "'tool_calls' must be followed by tool messages" if waiting else None


def _last_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """What the last message says, if it is the user's or a tool's."""
    last = messages[-1]
    texts = list(_texts(last)) if last["role"] in {"user", "tool"} else []
    return texts[-1] if texts else ""


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content") or ()
    if isinstance(content, str):
        yield content
    else:
        yield from (part["text"] for part in content if part["type"] == "text")


def _event(data: Any) -> bytes:
    return b"data: %b\n\n" % _json(data)


def _json(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
