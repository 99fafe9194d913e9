"""Bad input, failing models and killed processes: a clear answer, and nothing lost."""

import json
import os
import signal
import time

import httpx
import pytest

from tests.e2e.conftest import chat_request, eventually, problem
from tests.fakes.processes import processes

BOTH = pytest.mark.parametrize("path", ["/api/v1/chat", "/api/v1/chat/stream"])


def stream_flag(path: str) -> dict:
    return {"stream": path.endswith("stream")}


def contents(ai, session) -> list[tuple[str, str]]:
    stored = ai.get(f"/api/v1/sessions/{session['session_id']}").json()
    return [(message["role"], message["content"]) for message in stored["messages"]]


@pytest.mark.parametrize(
    "path", ["/api/v1/chat", "/api/v1/chat/stream", "/api/v1/sessions?user_id=1"]
)
@pytest.mark.parametrize("body", [b'{"message": ', b"", b"[]", b'"text"', b"\xff\xfe"])
def test_malformed_json(ai, path, body):
    response = ai.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in {400, 422}
    problem(response, response.status_code)


def test_wrong_types_are_listed(ai):
    wrong = {"message": 5, "project_id": "one", "user_id": None, "stream": False}
    errors = problem(ai.post("/api/v1/chat", json=wrong), 422)["errors"]
    assert {"message", "project_id", "user_id"} <= {
        part for error in errors for part in json.dumps(error).replace('"', " ").split()
    }


def test_chat_names_the_stream(ai, session):
    for body in (chat_request(session, "hi"), chat_request(session, "hi", stream=True)):
        assert "/chat/stream" in problem(ai.post("/api/v1/chat", json=body), 400)["detail"]


@BOTH
def test_an_oversized_message_names_the_limit(ai, session, path):
    body = chat_request(session, "x" * 200_001, **stream_flag(path))
    assert "200000" in json.dumps(problem(ai.post(path, json=body), 413))
    assert contents(ai, session) == []


@BOTH
def test_an_unknown_session(ai, path):
    body = {"message": "hi", "project_id": 1, "user_id": 7, "session_id": "nope"}
    problem(ai.post(path, json=body | stream_flag(path)), 404)


@BOTH
@pytest.mark.parametrize("choice", [{"provider": "nobody"}, {"model": "no-such-model"}])
def test_an_unknown_provider_or_model(ai, path, choice):
    body = {"message": "hi", "project_id": 1, "user_id": 7} | stream_flag(path) | choice
    response = ai.post(path, json=body)
    assert 400 <= response.status_code < 500
    problem(response, response.status_code)


@BOTH
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("fail=ThrottlingException", 429),
        ("fail=ServiceUnavailableException", 503),
        ("fail=ModelTimeoutException", 504),
        ("fail=AccessDeniedException", 502),
    ],
)
def test_a_provider_that_fails_at_once(ai, session, path, fault, status):
    question = f"Please [[{fault}]]"
    body = chat_request(session, question, **stream_flag(path))
    problem(ai.post(path, json=body), status)
    assert contents(ai, session) == [("user", question)]
    again = ai.post("/api/v1/chat", json=chat_request(session, "And now?", stream=False))
    assert again.status_code == 200
    assert [role for role, _ in contents(ai, session)] == ["user", "user", "assistant"]


@pytest.mark.parametrize("fault", ["fail_after=2", "cut_after=2"])
def test_a_provider_that_fails_in_the_middle(ai, session, fault):
    question = f"Go on [[text=one two three four]] [[chunks=4 {fault}]]"
    body = chat_request(session, question)
    with ai.stream("POST", "/api/v1/chat/stream", json=body) as response:
        assert response.status_code == 200
        lines = [line for line in response.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert chunks[-1]["finished"]
    assert set(chunks[-1]["error"]) >= {"code", "title"}
    partial = "".join(chunk["chunk"] for chunk in chunks)
    assert partial
    assert contents(ai, session)[0] == ("user", question)
    assert ("assistant", partial) in contents(ai, session)
    again = ai.post("/api/v1/chat", json=chat_request(session, "And now?", stream=False))
    assert again.status_code == 200


def test_a_killed_streaming_process_is_replaced(ai, session, cloud):
    assert ai.post("/api/v1/chat", json=chat_request(session, "warm up", stream=False)).is_success
    victims = processes("functions.ai.entrypoints.stream", cloud.state)
    assert victims
    body = chat_request(session, "Before the end [[chunks=3 step]]")
    try:
        with ai.stream("POST", "/api/v1/chat/stream", json=body) as response:
            lines = response.iter_lines()
            next(line for line in lines if line)
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
            assert "data: [DONE]" not in list(lines)
    except httpx.RemoteProtocolError:
        pass
    finally:
        cloud.bedrock.step(2)
    body = chat_request(session, "Still there?", stream=False)
    refused = ai.post("/api/v1/chat", json=body)
    turn = ai.get(f"/api/v1/turns/{problem(refused, 409, 'turn_in_progress')['turn_id']}").json()
    assert turn["status"] == "running"
    # Nobody renews its lease any more.
    eventually(lambda: ai.post("/api/v1/chat", json=body).status_code == 200)
    turn = ai.get(f"/api/v1/turns/{turn['turn_id']}").json()
    assert (turn["status"], turn["error"]["code"]) == ("failed", "turn_interrupted")
    assert ("user", "Before the end [[chunks=3 step]]") in contents(ai, session)


def test_a_killed_function_is_replaced(ai, cloud):
    assert ai.get("/api/v1/providers").status_code == 200
    victims = processes("ministack-lambda-santaclaude-local-ai-api", cloud.state)
    assert victims
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    for _ in range(20):
        if ai.get("/api/v1/providers").status_code == 200:
            break
        time.sleep(0.2)
    assert ai.get("/api/v1/providers").status_code == 200


def test_no_content_is_logged(ai, session, cloud):
    secret = "a-word-that-nobody-logs-4711"
    ai.post("/api/v1/chat", json=chat_request(session, f"{secret} [[text={secret}]]", stream=False))
    ai.post("/api/v1/chat", json=chat_request(session, f"{secret} [[fail=ThrottlingException]]"))
    ai.post("/api/v1/chat", content=f'{{"message": "{secret}'.encode())
    logs = cloud.command("logs", "ai", "--lines", "100000")
    assert logs.returncode == 0
    assert '"route":"/api/v1/chat"' in logs.stdout.replace(": ", ":")
    assert secret not in logs.stdout
