"""Sessions and messages over HTTP, without a database."""

import asyncio
import json

import pytest

from contracts.ai.v1 import MAX_SESSION_MESSAGES
from tests.fakes.ai_app import REQUEST_CONTEXT, AiService

pytestmark = pytest.mark.anyio


@pytest.fixture
def service():
    return AiService()


async def test_a_session_starts_with_its_prompts_and_calls_no_model(service):
    session = await service.new_session(
        initial_message="Plan the sprint", system_prompt="Be brief", card_id=9
    )
    assert [(m["role"], m["content"]) for m in session["messages"]] == [
        ("system", "Be brief"),
        ("user", "Plan the sprint"),
    ]
    assert session["status"] == "active"
    assert session["user_id"] == 3
    assert session["card_id"] == 9
    assert {m["session_id"] for m in session["messages"]} == {session["id"]}
    assert service.provider.prompts == []
    read = await service.call("GET", f"/api/v1/sessions/{session['session_id']}")
    assert read.json() == session


async def test_empty_prompts_store_no_message(service):
    session = await service.new_session(initial_message="", system_prompt="")
    assert session["messages"] == []


@pytest.mark.parametrize(
    ("fields", "code", "listed"),
    [
        ({"provider": "acme"}, "unknown_provider", "bedrock"),
        ({"model": "gpt-99"}, "unknown_model", "amazon.nova-lite-v1:0"),
    ],
)
async def test_unknown_names_list_what_there_is(service, fields, code, listed):
    body = {"project_id": 7, "provider": "bedrock", "model": "llama3.2", "initial_message": "x"}
    answer = await service.call("POST", "/api/v1/sessions?user_id=3", {**body, **fields})
    assert answer.status_code == 422
    assert answer.json()["code"] == code
    assert listed in answer.json()["detail"]


async def test_lists_are_newest_first_and_page(service):
    made = [(await service.new_session())["session_id"] for _ in range(5)]
    seen = []
    query = "/api/v1/sessions?project_id=7&limit=2"
    answer = (await service.call("GET", query)).json()
    seen += [s["session_id"] for s in answer["sessions"]]
    while answer["has_more"]:
        answer = (await service.call("GET", f"{query}&cursor={answer['next_cursor']}")).json()
        seen += [s["session_id"] for s in answer["sessions"]]
    assert seen == made[::-1]
    assert answer["next_cursor"] is None


async def test_a_cursor_belongs_to_its_query(service):
    for _ in range(3):
        await service.new_session()
    page = (await service.call("GET", "/api/v1/sessions?user_id=3&limit=1")).json()
    for query in (
        f"user_id=4&cursor={page['next_cursor']}",
        f"project_id=7&cursor={page['next_cursor']}",
        "user_id=3&cursor=%00nonsense",
        "user_id=3&cursor=W10",
    ):
        answer = await service.call("GET", f"/api/v1/sessions?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_a_list_needs_a_project_or_a_user(service):
    answer = await service.call("GET", "/api/v1/sessions")
    assert answer.status_code == 422
    assert {e["field"] for e in answer.json()["errors"]} == {"project_id", "user_id"}


async def test_a_patch_ends_and_reopens_a_session(service):
    session_id = (await service.new_session())["session_id"]
    path = f"/api/v1/sessions/{session_id}"
    body = {"status": "completed", "context": {"a": [1, {"b": None}]}}
    ended = (await service.call("PATCH", path, body)).json()
    assert ended["status"] == "completed"
    assert ended["completed_at"] is not None
    assert ended["context"] == {"a": [1, {"b": None}]}
    refused = await service.call("POST", f"{path}/messages", {"role": "user", "content": "x"})
    assert (refused.status_code, refused.json()["code"]) == (409, "session_not_active")
    reopened = (await service.call("PATCH", path, {"status": "active"})).json()
    assert reopened["completed_at"] is None
    assert reopened["context"] == {"a": [1, {"b": None}]}


async def test_a_deleted_session_is_gone(service):
    session_id = (await service.new_session(initial_message="x"))["session_id"]
    path = f"/api/v1/sessions/{session_id}"
    assert (await service.call("DELETE", path)).status_code == 200
    for method, sub, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("PATCH", "", {"status": "failed"}),
        ("GET", "/messages", None),
        ("POST", "/messages", {"role": "user", "content": "x"}),
    ):
        answer = await service.call(method, path + sub, body)
        assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")


async def test_messages_are_stored_as_they_are_and_page(service):
    session_id = (await service.new_session())["session_id"]
    path = f"/api/v1/sessions/{session_id}/messages"
    calls = [{"id": "1", "args": {"x": 1.5, "ü": None}}]
    body = {"role": "assistant", "content": "", "tool_calls": calls, "tool_results": []}
    stored = (await service.call("POST", path, body)).json()
    assert stored["tool_calls"] == calls
    assert stored["tool_results"] == []
    for n in range(4):
        await service.call("POST", path, {"role": "user", "content": str(n)})
    first = (await service.call("GET", f"{path}?limit=3")).json()
    second = (await service.call("GET", f"{path}?limit=3&cursor={first['next_cursor']}")).json()
    contents = [m["content"] for m in first["messages"] + second["messages"]]
    assert contents == ["", "0", "1", "2", "3"]
    assert not second["has_more"]


async def test_whatever_is_stored_can_be_read_back(service):
    session_id = (await service.new_session())["session_id"]
    path = f"/api/v1/sessions/{session_id}"
    deep = b"[" * 190 + b"9" * 4000 + b"]" * 190
    stored = await service.call(
        "POST",
        f"{path}/messages",
        content=b'{"role": "user", "content": "x", "tool_calls": [{"a": ' + deep + b"}]}",
    )
    changed = await service.call("PATCH", path, content=b'{"context": {"a": ' + deep + b"}}")
    read = await service.call("GET", path)
    listed = await service.call("GET", "/api/v1/sessions?project_id=7")
    assert [a.status_code for a in (stored, changed, read, listed)] == [200] * 4
    assert read.json()["messages"] == [stored.json()]
    assert read.json()["context"] == json.loads(b'{"a": ' + deep + b"}")


async def test_a_list_of_wrong_parts_is_one_error(service):
    session_id = (await service.new_session())["session_id"]
    answer = await service.call(
        "POST",
        f"/api/v1/sessions/{session_id}/messages",
        {"role": "user", "content": "x", "tool_calls": [1] * 1000},
    )
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["tool_calls.0"]


async def test_an_answer_of_large_messages_is_cut_to_fit(service):
    session_id = (await service.new_session())["session_id"]
    path = f"/api/v1/sessions/{session_id}"
    for n in range(30):
        await service.call(
            "POST", f"{path}/messages", {"role": "user", "content": str(n) + "x" * 199_000}
        )
    session = (await service.call("GET", path)).json()
    assert session["messages_truncated"]
    assert session["messages"][-1]["content"].startswith("29x")
    assert 20 <= len(session["messages"]) < 30
    page = (await service.call("GET", f"{path}/messages")).json()
    assert page["has_more"]
    assert page["messages"][0]["content"].startswith("0x")


@pytest.mark.parametrize("character", ['"', "\\", "\n", "\x01", "ü", "🙂"])
async def test_an_answer_fits_into_what_a_function_may_return(service, character):
    session_id = (await service.new_session())["session_id"]
    path = f"/api/v1/sessions/{session_id}"
    content = character * (200_000 // len(character.encode()))
    for _ in range(26):
        await service.call("POST", f"{path}/messages", {"role": "user", "content": content})
    for answer in (await service.call("GET", path), await service.call("GET", f"{path}/messages")):
        assert answer.status_code == 200
        returned = json.dumps({"body": answer.text}, ensure_ascii=False).encode()
        assert 4_000_000 < len(returned) < 6_000_000


async def test_a_session_carries_its_newest_messages(service):
    session_id = (await service.new_session())["session_id"]
    path = f"/api/v1/sessions/{session_id}"
    for n in range(MAX_SESSION_MESSAGES + 1):
        await service.call("POST", f"{path}/messages", {"role": "user", "content": str(n)})
    session = (await service.call("GET", path)).json()
    contents = [m["content"] for m in session["messages"]]
    assert contents == [str(n) for n in range(1, MAX_SESSION_MESSAGES + 1)]
    assert session["messages_truncated"]


async def test_the_same_key_gives_the_first_answer_again(service):
    body = {"project_id": 7, "provider": "bedrock", "model": "llama3.2", "initial_message": "x"}
    path = "/api/v1/sessions?user_id=3"
    first = await service.call("POST", path, body, idempotency_key="k1")
    await service.call(
        "POST",
        f"/api/v1/sessions/{first.json()['session_id']}/messages",
        {"role": "user", "content": "later"},
    )
    again = await service.call("POST", path, body, idempotency_key="k1")
    assert again.json()["messages"] == first.json()["messages"]
    assert again.json()["id"] == first.json()["id"]
    other = await service.call("POST", path, {**body, "card_id": 5}, idempotency_key="k1")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    elsewhere = await service.call("POST", "/api/v1/sessions?user_id=4", body, idempotency_key="k1")
    assert elsewhere.json()["id"] != first.json()["id"]


async def test_keys_of_callers_do_not_meet_but_those_of_a_roles_sessions_do(service):
    def context(arn):
        return {**REQUEST_CONTEXT, "identity": {"userArn": arn, "accountId": "0"}}

    body = {"project_id": 7, "provider": "bedrock", "model": "llama3.2", "initial_message": "x"}
    ids = []
    for arn in (
        "arn:aws:sts::0:assumed-role/caller/one",
        "arn:aws:sts::0:assumed-role/caller/two",
        "arn:aws:sts::0:assumed-role/other/one",
    ):
        answer = await service.call(
            "POST",
            "/api/v1/sessions?user_id=3",
            body,
            context=context(arn),
            idempotency_key="k1",
        )
        ids.append(answer.json()["id"])
    assert ids[0] == ids[1] != ids[2]


async def test_a_message_with_a_key_is_stored_once(service):
    session_id = (await service.new_session())["session_id"]
    path = f"/api/v1/sessions/{session_id}/messages"
    body = {"role": "user", "content": "x"}
    first = await service.call("POST", path, body, idempotency_key="k")
    again = await service.call("POST", path, body, idempotency_key="k")
    assert first.json() == again.json()
    assert len(await service.messages(session_id)) == 1


async def test_the_catalogue(service):
    providers = (await service.call("GET", "/api/v1/providers")).json()
    assert [p["id"] for p in providers] == [1, 2, 3, 4, 5]
    assert [p["name"] for p in providers if p["is_default"]] == ["bedrock"]
    assert [p["name"] for p in providers if p["is_active"]] == ["bedrock"]
    models = (await service.call("GET", "/api/v1/models?provider_id=1")).json()
    assert [m["name"] for m in models if m["is_default"]] == ["amazon.nova-lite-v1:0"]
    assert models[-1]["name"] == "llama3.2"
    assert models[-1]["input_cost"] is None
    assert (models[1]["input_cost"], models[1]["output_cost"]) == ("0.00006", "0.00024")
    assert all(m["is_active"] for m in models)
    others = (await service.call("GET", "/api/v1/models?provider_id=2")).json()
    assert others
    assert not any(m["is_active"] for m in others)
    assert (await service.call("GET", "/api/v1/models?provider_id=9")).json() == []


async def test_ready_names_what_fails(service):
    good = await service.call("GET", "/ready")
    assert (good.status_code, good.json()["checks"]) == (200, {"dynamodb": "ok"})
    service.memory.sessions.failure = RuntimeError("secret")
    bad = await service.call("GET", "/ready")
    assert bad.status_code == 503
    assert bad.json() == {
        "status": "not ready",
        "service": "ai-service",
        "checks": {"dynamodb": "failed"},
    }
    assert (await service.call("GET", "/health")).json() == {
        "status": "healthy",
        "service": "ai-service",
    }


async def test_ready_does_not_wait_for_a_store_that_hangs(service, monkeypatch):
    monkeypatch.setattr("servicekit.fastapi_app.READY_DEADLINE_SECONDS", 0.05)
    monkeypatch.setattr(service.memory.sessions, "check", asyncio.Event().wait)
    async with asyncio.timeout(5):
        assert (await service.call("GET", "/ready")).status_code == 503


async def test_an_impossible_session_id_is_no_session(service):
    answer = await service.call("GET", f"/api/v1/sessions/{'x' * 3000}")
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")
    assert answer.headers["x-request-id"] == "gateway-request-1"
