"""Ollama's endpoint for OpenAI's clients; what does not fit is refused as vLLM does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.fakes.model_script import ToolUse
from tests.fakes.provider_server.dialect import Reply, Used
from tests.fakes.provider_server.openai import OpenAI, Problem, call_id

_FAILURES: Mapping[str, tuple[int, str, str]] = {
    "auth": (401, "api_error", "unauthorized"),
    "billing": (402, "api_error", "usage limit reached"),
    "forbidden": (403, "api_error", "access denied"),
    "internal": (500, "api_error", "llama runner process has terminated"),
    "invalid": (400, "invalid_request_error", "invalid message format"),
    "not_found": (404, "not_found_error", "model 'none' not found"),
    "overloaded": (503, "api_error", "server busy, please try again"),
    "rate_limit": (429, "api_error", "too many concurrent requests"),
    "refused": (400, "invalid_request_error", "refused"),
    "timeout": (504, "api_error", "timed out waiting for llama runner to start"),
    "too_large": (413, "api_error", "http: request body too large"),
    "too_long": (400, "BadRequestError", "This model's maximum context length is 4096 tokens."),
    "unavailable": (503, "api_error", "unavailable"),
}


class Ollama(OpenAI):
    """`dialect.Dialect` of servers of open models."""

    path = "/ollama/v1/chat/completions"
    needs_key = False
    unknown = frozenset({"store", "max_completion_tokens"})

    def problem(self, body: Mapping[str, Any]) -> Problem:
        systems = [m for m in body.get("messages", ()) if m.get("role") == "system"]
        if len(systems) > 1:
            return "System message must be at the beginning."
        return super().problem(body)

    def deltas(self, reply: Reply) -> Iterator[Mapping[str, Any]]:
        thoughts = ({"content": "", "reasoning": text} for text in reply.thinking)
        for delta in (*thoughts, *super().deltas(reply)):
            yield {"role": "assistant", "content": "", **delta}

    def call_deltas(self, reply: Reply, number: int, tool: ToolUse) -> Iterator[Mapping[str, Any]]:
        """A tool call at once."""
        function = {"name": tool.name, "arguments": tool.arguments}
        call = {"id": call_id(reply, number), "index": number, "type": "function"}
        yield {"tool_calls": [{**call, "function": function}]}

    def usage(self, used: Used) -> Mapping[str, Any]:
        """Neither caches nor reasoning are told apart."""
        prompt = used.input + used.cache_read
        completion = used.output + used.reasoning
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def bad_calls(self, calls: Sequence[Mapping[str, Any]]) -> Problem:
        for call in calls:
            json.loads(call["function"]["arguments"])
        return super().bad_calls(calls)

    def failure(self, name: str, message: str) -> tuple[int, bytes]:
        return _FAILURES[name][0], json.dumps(self.error(name, message)).encode()

    def error(self, name: str, message: str) -> Any:
        status, kind, words = _FAILURES[name]
        said = f"{words} ({message})"
        if name == "too_long":
            return {"object": "error", "message": said, "type": kind, "code": status}
        return {"error": {"message": said, "type": kind, "param": None, "code": None}}
