"""Summaries through the deployed stream, queue and worker."""

import json
from datetime import UTC, datetime

import pytest

from tests.e2e.conftest import chat_request, eventually

PROJECT, USER = 4_712, 64
MODEL = {"provider": "bedrock", "model": "amazon.nova-micro-v1:0"}
# A capital counts as one token: three of them are more than the model's window of 128,000.
LONG = "A" * 60_000
SUMMARY = "They counted."


@pytest.fixture
def long_session(ai) -> dict:
    """A conversation that has outgrown its model's window, in a project that wants summaries."""
    policy = {"default": [], "fallbacks": [], "summaries": {}}
    made = ai.put(f"/api/v1/routing/project-{PROJECT}", json=policy)
    assert made.status_code == 200, made.text
    body = {"project_id": PROJECT, "initial_message": "", **MODEL}
    session = ai.post("/api/v1/sessions", params={"user_id": USER}, json=body).json()
    path = f"/api/v1/sessions/{session['session_id']}/messages"
    # What the oldest message asks for is done when its text is to be summarised.
    for question in (f"[[text={SUMMARY}]] {LONG}", LONG, LONG):
        for role, content in (("user", question), ("assistant", "Go on.")):
            added = ai.post(path, json={"role": role, "content": content})
            assert added.status_code == 200, added.text
    return session


def kept(ai) -> list[dict]:
    lines = ai.get(f"/api/v1/users/{USER}/export").text.splitlines()
    return [line for line in map(json.loads, lines) if line["type"] == "summary"]


def calls(ai) -> int:
    today = datetime.now(UTC).date().isoformat()
    query = {"project_id": PROJECT, "user_id": USER, "from": today, "to": today}
    return ai.get("/api/v1/usage", params=query).json()["total"]["calls"]


def chat(ai, session: dict, message: str) -> None:
    request = chat_request(session, message, stream=False)
    answer = ai.post("/api/v1/chat", json=request)
    assert answer.status_code == 200, answer.text


def test_what_a_prompt_left_out_is_told_by_the_next_one(ai, cloud, long_session):
    chat(ai, long_session, "And? [[text=Yes.]]")
    (line,) = eventually(lambda: kept(ai), 90)
    assert line["session_id"] == long_session["session_id"]
    assert line["summary"]["text"] == SUMMARY
    # It is charged beside the answer.
    assert eventually(lambda: calls(ai) == 2)
    before = len(cloud.bedrock.calls)
    chat(ai, long_session, "And then? [[text=Nothing.]]")
    (prompt,) = [call.body for call in cloud.bedrock.calls[before:]]
    assert SUMMARY in prompt["messages"][0]["content"][0]["text"]
    assert prompt["messages"][-1]["content"][-1]["text"].startswith("And then?")
    path = f"/api/v1/sessions/{long_session['session_id']}"
    assert ai.delete(path).status_code == 200
    assert kept(ai) == []
