"""What both apps do with requests that are not what they should be."""

import io
import json
import logging

import httpx
import pytest

from contracts.ai.v1 import MAX_BODY_BYTES, MAX_CONTENT_BYTES
from servicekit.logging import configure_logging
from tests.fakes.ai_app import REQUEST_CONTEXT, AiService, chat_body
from tests.fakes.memory import ScriptedProvider

pytestmark = pytest.mark.anyio


@pytest.fixture
def service():
    return AiService()


@pytest.fixture
def log_lines():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("ai-service", "DEBUG", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)


PATHS = ["/api/v1/sessions?user_id=3", "/api/v1/chat", "/api/v1/chat/stream"]


def assert_problem(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.json()["status"] == status
    assert answer.json()["title"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b'{"message": NaN}',
        b'{"message": "\\ud800"}',
        b"[" * 200_000,
        b'{"message": "x", "context": ' + b"[" * 250 + b"]" * 250 + b"}",
        b'{"message": 1e999}',
        b"1" * 5000,
    ],
)
async def test_what_is_no_json_is_a_400(service, path, content):
    assert_problem(await service.call("POST", path, content=content), 400, "malformed_json")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "line 1, byte 0"),
        (b'{"secret": 1} secret', "line 1, byte 15"),
        ('{\n  "secret": "üü" "secret"}'.encode(), "line 2, byte 20"),
        (b'{"secret": "\\ud800 secret"}', "line 1, byte 19"),
        (b'{"secret":\n1e999}', "number"),
    ],
)
async def test_the_place_of_what_is_no_json_is_told_and_its_text_is_not(service, content, place):
    for path in PATHS:
        answer = await service.call("POST", path, content=content)
        assert_problem(answer, 400, "malformed_json")
        assert place in answer.json()["detail"]
        assert "secret" not in answer.text


@pytest.mark.parametrize("path", PATHS)
async def test_each_wrong_field_is_listed(service, path):
    answer = await service.call(
        "POST", path, {"project_id": "seven", "message": 1, "model": 2, "card_id": 2**31}
    )
    assert_problem(answer, 422, "invalid_request")
    fields = {error["field"] for error in answer.json()["errors"]}
    assert {"project_id", "model", "card_id"} <= fields


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_that_does_not_say_json_is_a_415(service, path):
    answer = await service.call("POST", path, content=b"a=1", content_type="text/plain")
    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_above_the_limit_is_a_413(service, path):
    answer = await service.call("POST", path, content=b" " * (MAX_BODY_BYTES + 1))
    assert_problem(answer, 413, "body_too_large")
    assert str(MAX_BODY_BYTES) in answer.json()["detail"]


async def test_the_largest_prompts_fit_however_they_are_spelt(service):
    prompt = "\x01" * MAX_CONTENT_BYTES
    session = await service.new_session(initial_message=prompt, system_prompt=prompt)
    assert [len(m["content"]) for m in session["messages"]] == [MAX_CONTENT_BYTES] * 2


async def test_a_body_that_hides_its_size_is_a_413_too(service):
    async def parts():
        for _ in range(26):
            yield b" " * (MAX_BODY_BYTES // 25)

    transport = httpx.ASGITransport(app=service.stream)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post(
            "/api/v1/chat",
            content=parts(),
            headers={
                "content-type": "application/json",
                "x-amzn-request-context": json.dumps(REQUEST_CONTEXT),
            },
        )
    assert_problem(answer, 413, "body_too_large")


async def test_content_above_its_limit_is_a_413_and_counts_bytes(service):
    answer = await service.call("POST", "/api/v1/chat", chat_body(message="ü" * 100_001))
    assert_problem(answer, 413, "content_too_large")
    assert [error["field"] for error in answer.json()["errors"]] == ["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/api/v1/sessions/", 404, "not_found"),
        ("PUT", "/api/v1/sessions", 405, "method_not_allowed"),
        ("GET", "/api/v1/chat", 405, "method_not_allowed"),
        ("GET", "/api/v1/chat/else", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
    ],
)
async def test_routes_that_do_not_exist(service, method, path, status, code):
    answer = await service.call(method, path)
    assert_problem(answer, status, code)
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    "query",
    ["user_id=3&limit=0", "user_id=3&limit=101", "user_id=x", "user_id=0", f"user_id={2**31}"],
)
async def test_query_parameters_are_checked(service, query):
    answer = await service.call("GET", f"/api/v1/sessions?{query}")
    assert_problem(answer, 422, "invalid_request")
    assert answer.json()["errors"][0]["field"] in {"limit", "user_id"}


@pytest.mark.parametrize(
    "path", ["/ready", "/api/v1/providers", "/api/v1/sessions/x", "/api/v1/chat"]
)
async def test_without_the_gateways_identity_nothing_is_served(service, path):
    method = "POST" if path.endswith("chat") else "GET"
    answer = await service.call(method, path, context=None)
    assert_problem(answer, 401, "unauthenticated")
    unsigned = {"requestId": "r", "identity": {"userArn": None}}
    answer = await service.call(method, path, context=unsigned)
    assert_problem(answer, 401, "unauthenticated")


async def test_health_answers_anyone(service):
    assert (await service.call("GET", "/health", context=None)).status_code == 200


async def test_a_client_cannot_bring_its_own_context(service):
    for path in ("/health", "/api/v1/providers"):
        answer = await service.call("GET", path, x_amzn_request_context="{}")
        assert_problem(answer, 400, "forbidden_header")


@pytest.mark.parametrize("value", ["", "{", "[]", "null", "[" * 100_000])
async def test_a_streamed_context_must_be_an_object(service, value):
    answer = await service.call("POST", "/api/v1/chat", chat_body(), x_amzn_request_context=value)
    assert_problem(answer, 400, "invalid_request_context")


async def test_two_contexts_are_refused(service):
    transport = httpx.ASGITransport(app=service.stream)
    headers = [("x-amzn-request-context", json.dumps(REQUEST_CONTEXT))] * 2
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post("/api/v1/chat", json=chat_body(), headers=headers)
    assert_problem(answer, 400, "invalid_request_context")


async def test_the_web_adapter_asks_without_identity(service):
    transport = httpx.ASGITransport(app=service.stream)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/_lwa/ready")).status_code == 200


async def test_request_ids_go_through_or_come_from_the_gateway(service):
    given = await service.call("GET", "/health", x_request_id="mine-1")
    assert given.headers["x-request-id"] == "mine-1"
    for bad in ("", "a b", "x" * 129, "a\tb"):
        answer = await service.call("GET", "/health", x_request_id=bad)
        assert answer.headers["x-request-id"] == "gateway-request-1"
    made = await service.call("GET", "/health", context=None)
    assert len(made.headers["x-request-id"]) == 26


@pytest.mark.parametrize("key", ["", "a b", "a\x7f", "x" * 256])
async def test_idempotency_keys_are_checked(service, key):
    answer = await service.call("POST", "/api/v1/chat", chat_body(), idempotency_key=key)
    assert_problem(answer, 400, "invalid_idempotency_key")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/sessions/x"), ("POST", "/api/v1/chat")]
)
async def test_what_nobody_foresaw_gives_the_request_id_and_nothing_else(
    service, log_lines, method, path
):
    service.memory.sessions.failure = RuntimeError("the person wrote: secret")
    body = chat_body(session_id="x") if method == "POST" else None
    answer = await service.call(method, path, body)
    assert_problem(answer, 500, "internal_error")
    assert set(answer.json()) == {"type", "title", "status", "code", "request_id"}
    lines = log_lines()
    assert "secret" not in json.dumps(lines)
    (failure,) = [line for line in lines if line["message"] == "unhandled error"]
    assert failure["exception_name"] == "RuntimeError"
    assert any("memory.py" in frame for frame in failure["stack"][0]["frames"])
    assert failure["request_id"] == answer.headers["x-request-id"]


async def test_log_lines_correlate_and_hold_no_content(log_lines):
    service = AiService(provider=ScriptedProvider())
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await service.call(
        "POST", "/api/v1/chat", chat_body(message="secret"), traceparent=trace, x_request_id="r1"
    )
    await service.call("GET", "/api/v1/sessions?user_id=3&cursor=secret")
    lines = log_lines()
    assert "secret" not in json.dumps(lines)
    assert "Hello" not in json.dumps(lines)
    access = [line for line in lines if line["message"] == "request"]
    assert [(line["method"], line["route"], line["status"]) for line in access] == [
        ("POST", "/api/v1/chat", 200),
        ("GET", "/api/v1/sessions", 400),
    ]
    (turn,) = [line for line in lines if line["message"] == "turn ended"]
    for line in (turn, access[0]):
        assert line["request_id"] == "r1"
        assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
        assert line["service"] == "ai-service"
    assert turn["tokens_used"] == 120
