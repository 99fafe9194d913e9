"""Tool calls and results as messages hold them, and callers see them.

A call is OpenAI's `{"id", "type": "function", "function": {"name", "arguments": <JSON>}}`, a result
`{"tool_call_id", "content", "is_error"?}`. Messages of earlier days hold whatever their callers
stored: what has another shape is kept for them, and sent to no model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from functions.ai.domain.inference import ToolCall, ToolResult
from functions.ai.domain.models import ToolData

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""Names that every provider takes."""


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_JSON = json.JSONDecoder(parse_constant=_refuse)


def call_to_wire(call: ToolCall) -> dict[str, Any]:
    """The call as a message holds it."""
    arguments = json.dumps(call.arguments, ensure_ascii=False, separators=(",", ":"))
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def result_to_wire(result: ToolResult) -> dict[str, Any]:
    """The result as a message holds it."""
    wire: dict[str, Any] = {"tool_call_id": result.call_id, "content": result.content}
    return wire | {"is_error": True} if result.is_error else wire


def calls_from_wire(data: ToolData | None) -> tuple[ToolCall, ...]:
    """The calls among what is stored, each id once."""
    found: dict[str, ToolCall] = {}
    for item in _objects(data):
        if call := _call(item):
            found.setdefault(call.id, call)
    return tuple(found.values())


def results_from_wire(data: ToolData | None) -> tuple[ToolResult, ...]:
    """The results among what is stored, the first of each call."""
    found: dict[str, ToolResult] = {}
    for item in _objects(data):
        call_id, content = item.get("tool_call_id"), item.get("content")
        if isinstance(call_id, str) and call_id and isinstance(content, str):
            result = ToolResult(call_id, content, item.get("is_error") is True)
            found.setdefault(call_id, result)
    return tuple(found.values())


def _objects(data: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(data, (list, tuple)):
        yield from (item for item in data if isinstance(item, Mapping))


def _call(item: Mapping[str, Any]) -> ToolCall | None:
    call_id, function = item.get("id"), item.get("function")
    if not isinstance(call_id, str) or not call_id or not isinstance(function, Mapping):
        return None
    name, arguments = function.get("name"), _arguments(function.get("arguments"))
    if not isinstance(name, str) or not TOOL_NAME.fullmatch(name) or arguments is None:
        return None
    return ToolCall(call_id, name, arguments)


def _arguments(spelt: object) -> Mapping[str, Any] | None:
    if not isinstance(spelt, str):
        return None
    try:
        arguments = _JSON.decode(spelt) if spelt.strip() else {}
    except (ValueError, RecursionError):
        return None
    return arguments if isinstance(arguments, dict) else None
