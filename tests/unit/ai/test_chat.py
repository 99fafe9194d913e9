"""Turns: /chat and /chat/stream over a scripted model, without a database."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from functions.ai.domain.errors import (
    ContextTooLongError,
    ProviderThrottledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from functions.ai.domain.inference import Completion, Usage
from functions.ai.domain.models import Draft
from tests.fakes.ai_app import REQUEST_CONTEXT, AiService, chat_body, chunks
from tests.fakes.memory import ScriptedProvider
from tests.fakes.prompts import said

pytestmark = pytest.mark.anyio

CHAT = "/api/v1/chat"
STREAM = "/api/v1/chat/stream"
DONE = Completion(Usage(10, 5))
NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture
def service():
    return AiService()


async def test_a_chat_without_a_session_starts_one_with_the_defaults(service):
    answer = await service.call("POST", CHAT, chat_body(card_id=4))
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "completed"
    assert body["message"]["content"] == "Hello there!"
    assert body["message"]["role"] == "assistant"
    assert body["message"]["tokens_used"] == 120
    # 100 input tokens at 0.00006 and 20 output tokens at 0.00024 per thousand.
    assert body["message"]["cost"] == "0.0000108"
    session = (await service.call("GET", f"/api/v1/sessions/{body['session_id']}")).json()
    assert (session["provider"], session["model"]) == ("bedrock", "amazon.nova-lite-v1:0")
    assert session["card_id"] == 4
    assert [(m["role"], m["content"]) for m in session["messages"]] == [
        ("user", "Hi"),
        ("assistant", "Hello there!"),
    ]
    assert session["messages"][-1] == body["message"]


async def test_the_stream_is_chunks_then_the_finished_one_then_done(service):
    answer = await service.call("POST", STREAM, chat_body())
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    got = chunks(answer)
    assert [c["chunk"] for c in got] == ["Hello", " there", "!", ""]
    assert [c["finished"] for c in got] == [False, False, False, True]
    stored = (await service.messages(got[0]["session_id"]))[-1]
    assert got[-1]["message_id"] == stored["id"]
    assert all(c["message_id"] is None and "error" not in c for c in got[:-1])
    assert "error" not in got[-1]


async def test_chat_refuses_to_stream_and_names_the_call_that_does(service):
    for body in (chat_body(stream=True), {"message": "Hi", "project_id": 7, "user_id": 3}):
        answer = await service.call("POST", CHAT, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "use_chat_stream")
        assert "/chat/stream" in answer.json()["detail"]


async def test_the_model_sees_the_conversation(service):
    session = await service.new_session(system_prompt="Be brief", initial_message="First")
    await service.call("POST", CHAT, chat_body(session_id=session["session_id"]))
    await service.call(
        "POST", CHAT, chat_body(session_id=session["session_id"], message="And?", model="llama3.2")
    )
    first, second = service.provider.prompts
    assert first.model == "amazon.nova-lite-v1:0"
    assert first.system == ("Be brief",)
    assert first.utterances == (said("user", "First", "Hi"),)
    assert second.model == "llama3.2"
    assert second.utterances == (
        said("user", "First", "Hi"),
        said("assistant", "Hello there!"),
        said("user", "And?"),
    )


async def test_models_get_no_empty_text_and_no_assistant_who_begins(service):
    session_id = (await service.new_session())["session_id"]
    for role, content in (("assistant", "Welcome"), ("user", " \n"), ("assistant", "")):
        await service.call(
            "POST",
            f"/api/v1/sessions/{session_id}/messages",
            {"role": role, "content": content},
        )
    await service.call("POST", CHAT, chat_body(session_id=session_id))
    assert service.provider.prompts[0].utterances == (said("user", "Hi"),)


@pytest.mark.parametrize("fields", [{"session_id": "nothing"}, {"project_id": 8}, {"user_id": 4}])
@pytest.mark.parametrize("path", [CHAT, STREAM])
async def test_a_session_that_is_not_the_callers_does_not_exist(service, path, fields):
    session_id = (await service.new_session())["session_id"]
    answer = await service.call("POST", path, chat_body(**{"session_id": session_id, **fields}))
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")
    assert await service.messages(session_id) == []


async def test_unknown_models_leave_no_trace(service):
    answer = await service.call("POST", CHAT, chat_body(model="gpt-99"))
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_model")
    assert service.memory.sessions.sessions == {}


@pytest.mark.parametrize("path", [CHAT, STREAM])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ProviderThrottledError(retry_after=7), 429),
        (ProviderUnavailableError(), 503),
        (ProviderTimeoutError(), 504),
        (ContextTooLongError(), 413),
        (RuntimeError("secret"), 500),
    ],
)
async def test_a_failure_before_the_first_text_is_a_status_and_keeps_the_question(
    service, path, error, status
):
    session_id = (await service.new_session())["session_id"]
    service.provider.script = [error]
    answer = await service.call("POST", path, chat_body(session_id=session_id))
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    if status == 429:
        assert answer.headers["retry-after"] == "7"
    assert [m["content"] for m in await service.messages(session_id)] == ["Hi"]
    service.provider.script = [["Now"], DONE]
    retried = await service.call("POST", CHAT, chat_body(session_id=session_id, message="Again"))
    assert retried.json()["message"]["content"] == "Now"
    assert service.provider.prompts[-1].utterances == (said("user", "Hi", "Again"),)


async def test_a_failure_after_the_first_text_keeps_it_and_ends_the_stream(service):
    service.provider.script = [["Half"], ProviderUnavailableError()]
    got = chunks(await service.call("POST", STREAM, chat_body()))
    stored = await service.messages(got[0]["session_id"])
    assert [m["content"] for m in stored] == ["Hi", "Half"]
    assert stored[-1]["tokens_used"] is None
    assert got[-1] == {
        "session_id": got[0]["session_id"],
        "chunk": "",
        "finished": True,
        "message_id": stored[-1]["id"],
        "error": {"code": "provider_unavailable", "title": "The provider is not available"},
    }


async def test_chat_says_so_when_the_model_fails_on_the_way(service):
    service.provider.script = [["Half"], ProviderTimeoutError()]
    session_id = (await service.new_session())["session_id"]
    answer = await service.call("POST", CHAT, chat_body(session_id=session_id))
    assert (answer.status_code, answer.json()["code"]) == (504, "provider_timeout")
    assert [m["content"] for m in await service.messages(session_id)] == ["Hi", "Half"]


async def test_an_answer_above_the_limit_breaks_off(service):
    service.provider.script = [["x" * 200_000], ["y" * 200_000], DONE]
    got = chunks(await service.call("POST", STREAM, chat_body()))
    assert got[-1]["error"]["code"] == "answer_too_large"


async def test_an_answer_without_end_is_ended_in_time_to_store_it(service, monkeypatch):
    monkeypatch.setattr("functions.ai.domain.asking.MAX_ANSWER_SECONDS", 0.05)
    service.provider.script = [["Half"], None, DONE]
    async with asyncio.timeout(5):
        got = chunks(await service.call("POST", STREAM, chat_body()))
    stored = await service.messages(got[0]["session_id"])
    assert [m["content"] for m in stored] == ["Hi", "Half"]
    assert got[-1]["error"]["code"] == "provider_timeout"


async def test_a_stream_ends_even_when_its_key_cannot_be_released(service, monkeypatch):
    async def broken(*_arguments):
        raise RuntimeError

    monkeypatch.setattr(service.memory.records, "extend", broken)
    service.provider.script = [["Half"], ProviderUnavailableError()]
    async with asyncio.timeout(5):
        got = chunks(await service.call("POST", STREAM, chat_body(), idempotency_key="k"))
    assert got[-1]["error"]["code"] == "provider_unavailable"


async def test_an_empty_answer_is_an_answer(service):
    service.provider.script = [DONE]
    got = chunks(await service.call("POST", STREAM, chat_body()))
    assert [(c["chunk"], c["finished"]) for c in got] == [("", True)]


async def test_a_deleted_session_ends_its_stream_in_error(service):
    session_id = (await service.new_session())["session_id"]
    service.provider.script = [["Half"], None, DONE]
    call = asyncio.create_task(service.call("POST", STREAM, chat_body(session_id=session_id)))
    await service.provider.asked.wait()
    await service.call("DELETE", f"/api/v1/sessions/{session_id}")
    service.provider.go.set()
    assert chunks(await call)[-1]["error"]["code"] == "session_not_found"


async def test_text_leaves_before_the_model_is_done_and_nobody_listening_changes_nothing():
    service = AiService(provider=ScriptedProvider([["One"], None, ["Two"], DONE]))
    sent: asyncio.Queue = asyncio.Queue()
    body = json.dumps(chat_body()).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": STREAM,
        "raw_path": STREAM.encode(),
        "query_string": b"",
        "headers": [
            (b"content-type", b"application/json"),
            (b"x-amzn-request-context", json.dumps(REQUEST_CONTEXT).encode()),
        ],
    }
    incoming = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        return incoming.pop() if incoming else await asyncio.Event().wait()

    request = asyncio.create_task(service.stream(scope, receive, sent.put))
    assert (await sent.get())["status"] == 200
    first = json.loads((await sent.get())["body"].removeprefix(b"id: 1\ndata: "))
    assert first["chunk"] == "One"
    request.cancel()
    service.provider.go.set()
    await service.stream_dependencies.chat.drain()
    stored = service.memory.sessions.stored[first["session_id"]]
    assert [m.draft.content for m in stored] == ["Hi", "OneTwo"]


@pytest.mark.parametrize("path", [CHAT, STREAM])
async def test_the_same_key_replays_the_answer_without_asking_the_model(service, path):
    first = await service.call("POST", path, chat_body(), idempotency_key="k")
    again = await service.call("POST", path, chat_body(), idempotency_key="k")
    assert len(service.provider.prompts) == 1
    if path == CHAT:
        assert first.json() == again.json()
    else:
        assert "".join(c["chunk"] for c in chunks(again)) == "Hello there!"
        assert chunks(again)[-1] == chunks(first)[-1]
    other = await service.call("POST", path, chat_body(message="No"), idempotency_key="k")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize("script", [[ProviderUnavailableError()], [["Half"], RuntimeError()]])
async def test_a_failed_turn_may_be_tried_again_and_asks_the_question_once(service, script):
    service.provider.script = script
    failed = await service.call("POST", CHAT, chat_body(), idempotency_key="k")
    assert failed.status_code >= 500
    service.provider.script = [["Now"], DONE]
    again = await service.call("POST", CHAT, chat_body(), idempotency_key="k")
    stored = await service.messages(again.json()["session_id"])
    assert [m["content"] for m in stored if m["role"] == "user"] == ["Hi"]
    assert stored[-1]["content"] == "Now"
    assert len(service.memory.sessions.sessions) == 1
    await service.call(
        "POST", CHAT, chat_body(session_id=again.json()["session_id"], message="Then")
    )
    assert service.provider.prompts[-1].utterances == (
        said("user", "Hi"),
        said("assistant", "Now"),
        said("user", "Then"),
    )


async def test_a_message_that_no_window_holds_is_too_long_and_kept(service):
    session_id = (await service.new_session(model="amazon.nova-micro-v1:0"))["session_id"]
    huge = "\N{SLIGHTLY SMILING FACE}" * 49_000
    answer = await service.call("POST", CHAT, chat_body(session_id=session_id, message=huge))
    assert (answer.status_code, answer.json()["code"]) == (413, "context_too_long")
    assert service.provider.prompts == []
    assert [m["content"] for m in await service.messages(session_id)] == [huge]


async def test_of_a_long_conversation_the_model_is_sent_what_it_has_room_for(service):
    session_id = (await service.new_session(system_prompt="Be brief"))["session_id"]
    service.memory.sessions.stored[session_id] += [
        replace(
            service.memory.sessions.stored[session_id][0],
            sequence=2 + n,
            draft=Draft(9000 + n, ("user", "assistant")[n % 2], "word " * 20_000, NOW),
        )
        for n in range(40)
    ]
    stored = service.memory.sessions.sessions[session_id]
    service.memory.sessions.sessions[session_id] = replace(stored, next_sequence=42)
    answer = await service.call("POST", CHAT, chat_body(session_id=session_id))
    assert answer.status_code == 200
    (prompt,) = service.provider.prompts
    assert prompt.system == ("Be brief",)
    assert prompt.utterances[-1] == said("user", "Hi")
    assert 1 < len(prompt.utterances) < 41


async def test_a_turn_that_is_tried_again_does_not_see_what_came_after_it(service):
    session_id = (await service.new_session())["session_id"]
    body = chat_body(session_id=session_id)
    service.provider.script = [ProviderUnavailableError()]
    await service.call("POST", CHAT, body, idempotency_key="k")
    later = {"role": "user", "content": "later"}
    await service.call("POST", f"/api/v1/sessions/{session_id}/messages", later)
    service.provider.script = [["Now"], DONE]
    await service.call("POST", CHAT, body, idempotency_key="k")
    assert service.provider.prompts[-1].utterances == (said("user", "Hi"),)


async def test_an_answer_to_a_session_that_ended_meanwhile_is_kept(service):
    session_id = (await service.new_session())["session_id"]
    service.provider.script = [None, ["Late"], DONE]
    call = asyncio.create_task(service.call("POST", CHAT, chat_body(session_id=session_id)))
    await service.provider.asked.wait()
    await service.call("PATCH", f"/api/v1/sessions/{session_id}", {"status": "completed"})
    service.provider.go.set()
    assert (await call).status_code == 200
    assert [m["content"] for m in await service.messages(session_id)] == ["Hi", "Late"]


async def test_one_key_serves_each_call_by_itself(service):
    for path in (CHAT, STREAM):
        answer = await service.call("POST", path, chat_body(), idempotency_key="k")
        assert answer.status_code == 200
    created = await service.call(
        "POST",
        "/api/v1/sessions?user_id=3",
        {"project_id": 7, "provider": "bedrock", "model": "llama3.2", "initial_message": ""},
        idempotency_key="k",
    )
    assert created.status_code == 200
    assert len(service.provider.prompts) == 2
    assert len(service.memory.sessions.sessions) == 3


async def test_a_turn_is_not_tried_again_in_a_session_that_has_ended(service):
    session_id = (await service.new_session())["session_id"]
    body = chat_body(session_id=session_id)
    service.provider.script = [ProviderUnavailableError()]
    await service.call("POST", CHAT, body, idempotency_key="k")
    asked = len(service.provider.prompts)
    await service.call("PATCH", f"/api/v1/sessions/{session_id}", {"status": "cancelled"})
    again = await service.call("POST", CHAT, body, idempotency_key="k")
    assert (again.status_code, again.json()["code"]) == (409, "session_not_active")
    assert len(service.provider.prompts) == asked


@pytest.mark.parametrize("path", [CHAT, STREAM])
async def test_a_key_whose_request_was_refused_takes_the_corrected_one(service, path):
    wrong = chat_body(model="nothing")
    refused = await service.call("POST", path, wrong, idempotency_key="k")
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_model")
    corrected = await service.call("POST", path, chat_body(), idempotency_key="k")
    assert corrected.status_code == 200
    again = await service.call("POST", path, wrong, idempotency_key="k")
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_conflict")
    assert len(service.memory.sessions.sessions) == 1


async def test_a_field_left_at_its_default_is_the_same_request(service):
    await service.call("POST", STREAM, chat_body(stream=True), idempotency_key="k")
    body = chat_body(card_id=None)
    del body["stream"]
    again = await service.call("POST", STREAM, body, idempotency_key="k")
    assert again.status_code == 200
    assert len(service.provider.prompts) == 1
