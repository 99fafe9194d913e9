"""The AI SDK itself (npm `ai`) talks to the deployed service through the front door."""

import json

import httpx
import pytest

from tests.e2e.conftest import chat_request
from tests.fakes.ai_sdk import told_to_the_sdk

pytestmark = pytest.mark.usefixtures("keys")
HEADERS = {"Accept": "text/event-stream; protocol=ai-sdk"}
OPENAI = {"provider": "openai", "model": "gpt-6-luna"}
ANTHROPIC = {"provider": "anthropic", "model": "claude-haiku-4-5"}
PERSON = {"project_id": 4101, "user_id": 7}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
STEP = {"type": "step-start"}
RESTARTED = f"[[at={OPENAI['model']} chunks=4 fail_after=2]] [[at={ANTHROPIC['model']} text=Right]]"


@pytest.fixture(scope="module")
def reading(cloud, keys) -> dict:
    """One run of Node asks everything."""
    policy = {"default": [OPENAI | {"weight": 1}], "fallbacks": [ANTHROPIC]}
    with httpx.Client(base_url=cloud.ai, timeout=60) as client:
        response = client.put(f"/api/v1/routing/project-{PERSON['project_id']}", json=policy)
        assert response.status_code == 200, response.text
        slow = {**PERSON, **ANTHROPIC, "message": "Slowly [[chunks=10 delay=0.3]]"}
        with client.stream("POST", "/api/v1/chat/stream", json=slow) as running:
            openai, anthropic = PERSON | OPENAI, PERSON | ANTHROPIC
            scenarios = {
                # It goes on while it is taken up.
                "resumed": {"turn": running.headers["x-turn-id"]},
                "plain": {"person": openai, "says": "Hi [[text=Grüße, 三 🎄]] [[chunks=5]]"},
                "again": {"person": openai, "says": "Hi [[text=One]]", "again": True},
                "tools": {
                    "person": {**anthropic, "tools": [WEATHER]},
                    "says": 'Rain? [[text=Wait]] [[tool=weather {"city": "Köln"}]]',
                },
                "restarted": {"person": openai, "says": f"Hi {RESTARTED}"},
                "failed": {"person": anthropic, "says": "Hi [[chunks=4 cut_after=2]]"},
                "refused": {"person": anthropic, "says": "Hi [[fail=auth]]"},
            }
            return told_to_the_sdk({name: {"base": cloud.ai, **s} for name, s in scenarios.items()})


def text(said: str) -> dict:
    return {"type": "text", "text": said, "state": "done"}


PARTS = {
    "resumed": [STEP, text("".join(f"Chunk {i} of 10. " for i in range(1, 11)).rstrip())],
    "plain": [STEP, text("Grüße, 三 🎄")],
    "restarted": [STEP, text("Right")],
    "failed": [STEP, text("Chunk 1 of 4. Chunk 2 of 4. ")],
}


@pytest.mark.parametrize("name", PARTS)
def test_the_message_is_what_the_turn_said(ai, reading, name):
    (message,) = reading[name]["chat"]["messages"]
    assert message["parts"] == PARTS[name]
    # Whoever comes later and reads from the beginning has the same.
    assert reading[name]["read"]["message"] == message
    turn = ai.get(f"/api/v1/turns/{message['id']}").json()
    told = message["metadata"]
    for field in ("session_id", "provider", "model", "status", "message_id", "usage", "cost"):
        assert told[field] == turn[field], field


def test_a_restarted_answer_names_who_gave_it(reading):
    told = reading["restarted"]["chat"]["messages"][0]["metadata"]
    assert {name: told[name] for name in ANTHROPIC} == ANTHROPIC


def test_tool_calls_are_parts_of_the_message(reading):
    (message,) = reading["tools"]["chat"]["messages"]
    step, said, call = message["parts"]
    assert (step, said) == (STEP, text("Wait"))
    assert (call["type"], call["state"]) == ("tool-weather", "input-available")
    assert call["input"] == {"city": "Köln"}


def test_a_second_question_goes_to_the_same_session(ai, reading):
    chat = reading["again"]["chat"]
    sessions = {message["metadata"]["session_id"] for message in chat["messages"]}
    assert len(chat["messages"]) == 2
    assert len(sessions) == 1
    stored = ai.get(f"/api/v1/sessions/{sessions.pop()}").json()["messages"]
    assert [message["role"] for message in stored] == ["user", "assistant"] * 2


def test_failures_are_the_chats_error(reading):
    """In the middle, and before the first byte, when the answer is a problem document."""
    failed, refused = reading["failed"]["chat"], reading["refused"]["chat"]
    assert (failed["status"], refused["status"]) == ("error", "error")
    assert json.loads(failed["error"])["code"] == "provider_unavailable"
    assert json.loads(refused["error"])["code"] == "provider_access_denied"
    assert refused["messages"] == []


def test_a_header_asks_for_the_protocol(ai, session):
    body = chat_request(session, "Hi [[text=There]]")
    response = ai.post("/api/v1/chat/stream", json=body, headers=HEADERS)
    assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    assert [chunk["type"] for chunk in chunks[:3]] == ["start", "start-step", "text-start"]
    assert "".join(chunk.get("delta", "") for chunk in chunks) == "There"
    assert chunks[-1]["type"] == "finish"
