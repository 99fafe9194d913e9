"""Google's endpoint for OpenAI's clients."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.fakes.model_script import ToolUse
from tests.fakes.provider_server.dialect import Reply, Used
from tests.fakes.provider_server.openai import OpenAI, Problem, call_id

SIGNATURE = "AY89a18iOcFus5wr5bW5xN6zZ4aUiCyhgmg6HE2YjtYDV"
_SKIP = "skip_thought_signature_validator"

_FAILURES: Mapping[str, tuple[int, str, str]] = {
    "auth": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    "billing": (403, "PERMISSION_DENIED", "Billing is disabled."),
    "forbidden": (403, "PERMISSION_DENIED", "Your project has been denied access."),
    "internal": (500, "INTERNAL", "An internal error has occurred."),
    "invalid": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "not_found": (404, "NOT_FOUND", "models/none is not found for API version v1main"),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "rate_limit": (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota."),
    "refused": (400, "INVALID_ARGUMENT", "The request was blocked."),
    "timeout": (504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
    "too_large": (400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520"),
    "too_long": (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    "unavailable": (503, "UNAVAILABLE", "The service is currently unavailable."),
}
_DETAILS: Mapping[str, Mapping[str, str]] = {
    "auth": {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
    "rate_limit": {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "33.2s"},
}
_FINISHES = {
    "content_filter": "content_filter: SAFETY",
    "malformed": "function_call_filter: MALFORMED_FUNCTION_CALL",
}


class Gemini(OpenAI):
    """`dialect.Dialect` of Gemini."""

    path = "/v1beta/openai/chat/completions"
    unknown = frozenset({"store"})

    def bad_calls(self, calls: Sequence[Mapping[str, Any]]) -> Problem:
        signed = [call["extra_content"] for call in calls if "extra_content" in call]
        if calls and not signed:
            return "Function call is missing a thought_signature in functionCall parts."
        if any(extra["google"]["thought_signature"] not in (SIGNATURE, _SKIP) for extra in signed):
            return "Corrupted thought signature."
        return None

    def event(self, reply: Reply, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        """A chunk, with the usage until then."""
        choice: dict[str, Any] = {"index": 0, "delta": delta}
        if finish:
            choice["finish_reason"] = finish
        chunk: dict[str, Any] = {
            "choices": [choice],
            "created": 1741570283,
            "id": "vT8waYn4BMvnitYP06qsgQY",
            "model": reply.model,
            "object": "chat.completion.chunk",
        }
        if reply.used and not reply.usage_last:
            chunk["usage"] = self.usage(reply.used)
        return b"data: %b\n\n" % json.dumps(chunk, ensure_ascii=False).encode()

    def call_deltas(self, reply: Reply, number: int, tool: ToolUse) -> Iterator[Mapping[str, Any]]:
        """A tool call at once. Those of one answer have the same index; the first is signed."""
        call: dict[str, Any] = {
            "function": {"arguments": tool.arguments, "name": tool.name},
            "id": call_id(reply, number),
            "index": 0,
            "type": "function",
        }
        if number == 0:
            call["extra_content"] = {"google": {"thought_signature": SIGNATURE}}
        yield {"role": "assistant", "tool_calls": [call]}

    def finish(self, reply: Reply) -> str:
        return _FINISHES.get(reply.stop or "", reply.stop or "stop")

    def usage(self, used: Used) -> Mapping[str, Any]:
        """Thoughts are in the total alone."""
        prompt = used.input + used.cache_read
        usage: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": used.output,
            "total_tokens": prompt + used.output + used.reasoning,
        }
        if used.cache_read:
            usage["prompt_tokens_details"] = {"cached_tokens": used.cache_read}
        return usage

    def failure(self, name: str, message: str) -> tuple[int, bytes]:
        return _FAILURES[name][0], json.dumps(self.error(name, message)).encode()

    def error(self, name: str, message: str) -> Any:
        code, status, words = _FAILURES[name]
        error: dict[str, Any] = {
            "code": code,
            "message": message if name == "invalid" else f"{words} ({message})",
            "status": status,
        }
        if name in _DETAILS:
            error["details"] = [_DETAILS[name]]
        return [{"error": error}]
