"""Anthropic's Messages API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.fakes.model_script import ToolUse, split, tokens
from tests.fakes.provider_server.dialect import Asked, Frame, Refusal, Reply, Used

_FAILURES: Mapping[str, tuple[int, str, str]] = {
    "auth": (401, "authentication_error", "invalid x-api-key"),
    "billing": (402, "billing_error", "Your credit balance is too low to access the API."),
    "forbidden": (403, "permission_error", "Your API key may not use this resource."),
    "internal": (500, "api_error", "Internal server error"),
    "invalid": (400, "invalid_request_error", "The request is invalid."),
    "not_found": (404, "not_found_error", "model: claude-none"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "rate_limit": (429, "rate_limit_error", "This request would exceed your rate limit."),
    "refused": (400, "invalid_request_error", "Output blocked by content filtering policy"),
    "timeout": (504, "timeout_error", "The request timed out."),
    "too_large": (413, "request_too_large", "Request exceeds the maximum size"),
    "too_long": (400, "invalid_request_error", "prompt is too long: 200001 tokens > 200000"),
    "unavailable": (503, "api_error", "Service unavailable"),
}
_ID = "msg_01XFDUDYJgAACzvnptvVoYEL"
_SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"
_REDACTED = "EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIwxtE3rAFBa8cr3qpP"
_ARGUMENT_PIECES = 3
_BLANK = "messages: text content blocks must be non-empty"
_SIDES = frozenset({"user", "assistant"})


class Anthropic:
    """`dialect.Dialect` of Anthropic."""

    path = "/v1/messages"

    def refusal(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Refusal | None:
        if not (headers.get("x-api-key") or headers.get("authorization", "").strip()):
            return Refusal("auth", "x-api-key header is required")
        if "anthropic-version" not in headers:
            return Refusal("invalid", "anthropic-version: header is required")
        if reason := _reason(body):
            return Refusal("invalid", reason)
        return None

    def asked(self, body: Mapping[str, Any]) -> Asked:
        messages = body["messages"]
        return Asked(
            model=body["model"],
            stream=body.get("stream") is True,
            text=_last_text(messages),
            turn=sum(message["role"] == "user" for message in messages),
            tokens=tokens(*_texts(_blocks(body.get("system", ()))), *_said(messages)),
        )

    def frames(self, reply: Reply) -> Sequence[Frame]:
        return tuple(_frames(reply))

    def whole(self, reply: Reply) -> bytes:
        content: list[dict[str, Any]] = [*_thoughts(reply)]
        if reply.chunks:
            content.append({"type": "text", "text": "".join(reply.chunks)})
        content += (
            {**block, "input": json.loads(tool.arguments or "{}")}
            for tool, block in _tool_uses(reply)
        )
        return _json(
            {
                **_message(reply),
                "content": content,
                "stop_reason": _stop(reply),
                "usage": _usage(reply.used) if reply.used else None,
            }
        )

    def failure(self, name: str, message: str) -> tuple[int, bytes]:
        return _FAILURES[name][0], _json(_error(name, message))

    def error_event(self, name: str, message: str) -> bytes:
        return _event(_error(name, message))


def _frames(reply: Reply) -> Iterator[Frame]:
    used = reply.used
    start = _message(reply)
    if used and not reply.usage_last:
        # What comes later is cumulative: these are not to be added to it.
        start["usage"] = {**_usage(used), "output_tokens": 1}
        start["usage"].pop("output_tokens_details", None)
    yield Frame(_event({"type": "message_start", "message": start}))
    for _ in range(reply.pings):
        yield Frame(_event({"type": "ping"}), ping=True)
    for index, (block, deltas) in enumerate(_streamed_blocks(reply)):
        yield Frame(_event({"type": "content_block_start", "index": index, "content_block": block}))
        if index == 0:
            yield Frame(_event({"type": "ping"}))
        for delta in deltas:
            event = {"type": "content_block_delta", "index": index, "delta": delta}
            yield Frame(_event(event), chunk=delta["type"] != "signature_delta")
        yield Frame(_event({"type": "content_block_stop", "index": index}))
    end: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": _stop(reply), "stop_sequence": None},
    }
    if used:
        end["usage"] = _usage(used)
    yield Frame(_event(end))
    yield Frame(_event({"type": "message_stop"}))


def _streamed_blocks(reply: Reply) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    if reply.thinking:
        deltas: list[dict[str, Any]] = [
            {"type": "thinking_delta", "thinking": text} for text in reply.thinking
        ]
        deltas.append({"type": "signature_delta", "signature": _SIGNATURE})
        yield {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if reply.redacted:
        yield {"type": "redacted_thinking", "data": _REDACTED}, []
    if reply.chunks:
        deltas = [{"type": "text_delta", "text": text} for text in reply.chunks]
        yield {"type": "text", "text": ""}, deltas
    for tool, block in _tool_uses(reply):
        pieces = split(tool.arguments, _ARGUMENT_PIECES) if tool.arguments else []
        # The first piece of a call's arguments is empty; so is the only one of a call without any.
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces)]
        yield block, deltas


def _thoughts(reply: Reply) -> Iterator[dict[str, Any]]:
    if reply.thinking:
        text = "".join(reply.thinking)
        yield {"type": "thinking", "thinking": text, "signature": _SIGNATURE}
    if reply.redacted:
        yield {"type": "redacted_thinking", "data": _REDACTED}


def _tool_uses(reply: Reply) -> Iterator[tuple[ToolUse, dict[str, Any]]]:
    for number, tool in enumerate(reply.tools):
        call_id = f"toolu_{reply.turn:02}{number:02}"
        yield tool, {"type": "tool_use", "id": call_id, "name": tool.name, "input": {}}


def _message(reply: Reply) -> dict[str, Any]:
    return {
        "id": _ID,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _stop(reply: Reply) -> str:
    return reply.stop or ("tool_use" if reply.tools else "end_turn")


def _usage(used: Used) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "input_tokens": used.input,
        "cache_creation_input_tokens": used.cache_write,
        "cache_read_input_tokens": used.cache_read,
        "output_tokens": used.output + used.reasoning,
    }
    if used.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": used.reasoning}
    return usage


def _error(name: str, message: str) -> dict[str, Any]:
    _, kind, words = _FAILURES[name]
    # The words tell some failures from others of the same type; the message names a caller's text.
    error = {"type": kind, "message": message if name == "invalid" else f"{words} ({message})"}
    return {"type": "error", "error": error, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}


def _event(data: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), _json(data))


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def _reason(body: Mapping[str, Any]) -> str | None:
    """Why the API would refuse the body, if it would."""
    messages = body.get("messages")
    if not isinstance(body.get("model"), str):
        return "model: Field required"
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        return "max_tokens: Field required"
    if not isinstance(messages, list) or not messages:
        return "messages: at least one message is required"
    return (
        _bad_order(messages)
        or _blank([*_said(messages), *_texts(_blocks(body.get("system", ())))])
        or _unanswered(messages)
        or next(filter(None, map(_bad_block, _all(messages))), None)
    )


def _bad_order(messages: Sequence[Mapping[str, Any]]) -> str | None:
    if any(message.get("role") not in _SIDES for message in messages):
        return "messages: Unexpected role"
    if messages[0]["role"] != "user":
        return "messages: first message must use the user role"
    return None


def _blank(texts: Sequence[str]) -> str | None:
    return None if all(text.strip() for text in texts) else _BLANK


def _unanswered(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Calls without their results, and results without their calls."""
    open_calls: set[str] = set()
    for number, message in enumerate(messages):
        blocks = _blocks(message["content"])
        results = [block for block in blocks if block["type"] == "tool_result"]
        if {block["tool_use_id"] for block in results} != open_calls:
            return (
                f"messages.{number}: `tool_use` ids were found without `tool_result` blocks"
                " immediately after, or the other way round."
            )
        if any(block["type"] == "tool_result" for block in blocks[len(results) :]):
            return f"messages.{number}: `tool_result` blocks come first."
        open_calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
    return "messages: the last `tool_use` has no `tool_result`" if open_calls else None


def _bad_block(block: Mapping[str, Any]) -> str | None:
    match block:
        case {"type": "thinking", "thinking": str(), "signature": signature}:
            return None if signature == _SIGNATURE else "Invalid `signature` in `thinking` block"
        case {"type": "redacted_thinking", "data": data}:
            return None if data == _REDACTED else "Invalid `data` in `redacted_thinking` block"
        case (
            {"type": "text", "text": str()}
            | {"type": "image", "source": {"type": "base64", "media_type": str(), "data": str()}}
            | {"type": "tool_use", "id": str(), "name": str(), "input": dict()}
            | {"type": "tool_result", "tool_use_id": str()}
        ):
            return None
        case _:
            return f"messages: unexpected content block {block.get('type')!r}"


def _last_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """What the last message says; a tool's results stand in for words."""
    last = messages[-1]
    if last["role"] != "user":
        return ""
    blocks = _blocks(last["content"])
    texts = list(_texts(blocks)) or [_result(block) for block in blocks if "content" in block]
    return texts[-1] if texts else ""


def _said(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    return _texts(_all(messages))


def _all(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [block for message in messages for block in _blocks(message["content"])]


def _blocks(content: Any) -> Sequence[Mapping[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _texts(blocks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    return (block["text"] for block in blocks if block.get("type") == "text")


def _result(block: Mapping[str, Any]) -> str:
    return "".join(_texts(_blocks(block["content"])))
