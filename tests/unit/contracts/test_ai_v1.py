"""The limits and lenience of the AI v1 bodies."""

import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel, ValidationError

from contracts.ai import v1
from contracts.base import MAX_ID

CHAT = {"message": "hello", "project_id": 1, "user_id": 2}
SESSION = {"project_id": 1, "provider": "bedrock", "model": "m", "initial_message": "hi"}
MESSAGE = {"role": "user", "content": "hi"}
PNG = "data:image/png;base64,iVBORw0KGgo="
PATTERN = "string_pattern_mismatch"


def error_types(model: type[BaseModel], body: Mapping[str, object]) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    return [(".".join(map(str, e["loc"])), e["type"]) for e in caught.value.errors()]


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        (v1.ChatRequest, CHAT | {"message": ""}, ("", "blank_message")),
        (v1.ChatRequest, CHAT | {"message": " \n"}, ("", "blank_message")),
        (v1.ChatRequest, CHAT | {"message": 5}, ("message", "string_type")),
        (v1.ChatRequest, CHAT | {"message": "a\ud800"}, ("message", "value_error")),
        (v1.ChatRequest, CHAT | {"project_id": 0}, ("project_id", "greater_than_equal")),
        (v1.ChatRequest, CHAT | {"user_id": MAX_ID + 1}, ("user_id", "less_than_equal")),
        (v1.ChatRequest, CHAT | {"user_id": True}, ("user_id", "int_type")),
        (v1.ChatRequest, CHAT | {"user_id": "five"}, ("user_id", "int_parsing")),
        (v1.ChatRequest, CHAT | {"card_id": False}, ("card_id", "int_type")),
        (v1.ChatRequest, CHAT | {"session_id": ""}, ("session_id", "string_too_short")),
        (v1.ChatRequest, CHAT | {"session_id": "s" * 65}, ("session_id", "string_too_long")),
        (v1.ChatRequest, CHAT | {"stream": "maybe"}, ("stream", "bool_parsing")),
        (v1.ChatRequest, CHAT | {"message": "", "images": []}, ("", "blank_message")),
        (v1.ChatRequest, CHAT | {"images": ["s3://b/k"] * 9}, ("images", "too_long")),
        (v1.ChatRequest, CHAT | {"images": [PNG, "https://p"]}, ("images.1", PATTERN)),
        (v1.ChatRequest, CHAT | {"images": [f" {PNG}"]}, ("images.0", PATTERN)),
        (v1.ChatRequest, CHAT | {"images": ["data:image/bmp;base64,"]}, ("images.0", PATTERN)),
        (v1.SessionCreate, SESSION | {"provider": ""}, ("provider", "string_too_short")),
        (v1.SessionCreate, SESSION | {"model": "m" * 257}, ("model", "string_too_long")),
        (v1.MessageCreate, MESSAGE | {"role": "tool"}, ("role", "literal_error")),
        (v1.MessageCreate, MESSAGE | {"tool_calls": ["x"]}, ("tool_calls.0", "dict_type")),
        (v1.SessionUpdate, {"status": "done"}, ("status", "literal_error")),
        (v1.SessionUpdate, {"context": []}, ("context", "dict_type")),
    ],
)
def test_refuses(
    model: type[BaseModel], body: dict[str, object], expected: tuple[str, str]
) -> None:
    assert error_types(model, body) == [expected]


@pytest.mark.parametrize("field", ["message", "project_id", "user_id"])
def test_chat_requires(field: str) -> None:
    body = {name: value for name, value in CHAT.items() if name != field}
    assert error_types(v1.ChatRequest, body) == [(field, "missing")]


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (v1.ChatRequest, CHAT, "message"),
        (v1.MessageCreate, MESSAGE, "content"),
        (v1.SessionCreate, SESSION, "initial_message"),
        (v1.SessionCreate, SESSION, "system_prompt"),
    ],
)
def test_content_is_limited_by_bytes(
    model: type[BaseModel], body: dict[str, object], field: str
) -> None:
    fits = "é" * (v1.MAX_CONTENT_BYTES // 2)
    assert getattr(model.model_validate(body | {field: fits}), field) == fits
    assert error_types(model, body | {field: fits + "a"}) == [(field, "content_too_large")]


def test_tool_data_is_limited_together() -> None:
    half = [{"x": "a" * (v1.MAX_TOOL_DATA_BYTES // 2 - 10)}]
    v1.MessageCreate.model_validate(MESSAGE | {"tool_calls": half, "tool_results": half})
    more = [{"x": "a" * (v1.MAX_TOOL_DATA_BYTES // 2)}]
    body = MESSAGE | {"tool_calls": half, "tool_results": more}
    assert error_types(v1.MessageCreate, body) == [("", "content_too_large")]


def test_context_is_limited() -> None:
    body = {"context": {"x": "a" * v1.MAX_CONTEXT_BYTES}}
    assert error_types(v1.SessionUpdate, body) == [("context", "content_too_large")]


def test_numbers_in_strings_are_read_as_v1_did() -> None:
    assert v1.ChatRequest.model_validate(CHAT | {"user_id": "5"}).user_id == 5


def test_unknown_request_fields_are_ignored() -> None:
    assert v1.ChatRequest.model_validate(CHAT | {"temperature": 0.2}).message == "hello"


def test_images_need_no_words() -> None:
    body = CHAT | {"message": "", "images": [PNG, "s3://bucket/projects/1/a.png"]}
    assert v1.ChatRequest.model_validate(body).images == body["images"]


def test_stream_is_the_default() -> None:
    assert v1.ChatRequest.model_validate(CHAT).stream is True


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        ({"card_id": None}, {"card_id": None}),
        ({"status": "completed"}, {"status": "completed"}),
        ({"status": None, "context": {}}, {"context": {}}),
        ({"card_id": 3, "status": "failed"}, {"card_id": 3, "status": "failed"}),
    ],
)
def test_update_changes(body: dict[str, object], changes: dict[str, object]) -> None:
    assert v1.SessionUpdate.model_validate(body).changes() == changes


@pytest.mark.parametrize("body", [{}, {"status": None}, {"context": None}, {"title": "x"}])
def test_update_must_change_something(body: dict[str, object]) -> None:
    assert error_types(v1.SessionUpdate, body) == [("", "nothing_to_change")]


@pytest.mark.parametrize(
    "written", ["2026-01-01T00:00:00", "2026-01-01T00:00:00Z", "2026-01-01T02:00:00+02:00"]
)
def test_times_are_utc_with_z(written: str) -> None:
    message = v1.Message.model_validate(
        {"role": "user", "content": "", "id": 1, "session_id": 1, "created_at": written}
    )
    assert message.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert '"created_at":"2026-01-01T00:00:00Z"' in message.model_dump_json()


def test_only_a_failed_chunk_carries_error() -> None:
    chunk = v1.StreamingChatChunk(session_id="s", chunk="", finished=True)
    assert chunk.model_dump_json() == (
        '{"session_id":"s","chunk":"","finished":true,"message_id":null}'
    )
    failed = chunk.model_copy(update={"error": v1.ChunkError(code="c", title="t")})
    assert failed.model_dump(mode="json")["error"] == {"code": "c", "title": "t"}


def test_the_models_cost_no_more_than_pydantic() -> None:
    code = "import sys, contracts.ai.v1; print(*{m.partition('.')[0] for m in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(run.stdout.split())
    assert "pydantic" in loaded
    assert not {"httpx", "starlette", "fastapi", "botocore", "servicekit"} & loaded
