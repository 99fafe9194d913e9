"""Each provider through the deployed cloud: its real SDK against the provider server."""

import json

import pytest

from tests.e2e.conftest import chat_request, eventually, problem
from tests.fakes.pictures import data_url

pytestmark = pytest.mark.usefixtures("keys")
PROVIDERS = {
    "openai": "gpt-5.4-mini",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-3.8-flash",
    "openai-compatible": "llama3.2",
}
EACH = pytest.mark.parametrize("provider", PROVIDERS)
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def asked(session: dict, provider: str, message: str, **fields) -> dict:
    named = {"provider": provider, "model": PROVIDERS[provider]}
    return chat_request(session, message, **named, **fields)


@EACH
def test_an_answer_comes_whole_with_its_exact_usage(ai, session, cloud, provider):
    script = "[[text=Grüße]] [[input=10 output=5 cache_read=3]]"
    response = ai.post("/api/v1/chat", json=asked(session, provider, f"Hi {script}", stream=False))
    assert response.status_code == 200, response.text
    message = response.json()["message"]
    assert message["content"] == "Grüße"
    turn = ai.get(f"/api/v1/turns/{response.json()['turn_id']}").json()
    assert (turn["provider"], turn["model"]) == (provider, PROVIDERS[provider])
    usage = turn["usage"]
    # Ollama does not tell what its cache served.
    whole = provider == "openai-compatible"
    assert (usage["input"], usage["cache_read"]) == ((13, 0) if whole else (10, 3))
    assert usage["output"] == 5
    assert (turn["cost"] is None) == (provider == "openai-compatible")
    headers = cloud.providers.calls[-1].headers
    if provider != "openai-compatible":
        assert f"key-of-{provider}" in headers.get("x-api-key", headers.get("authorization", ""))


@EACH
def test_an_answer_is_streamed(ai, session, provider):
    body = asked(session, provider, "Hi [[chunks=4]] [[split=1]]")
    with ai.stream("POST", "/api/v1/chat/stream", json=body) as response:
        assert response.status_code == 200
        lines = [line for line in response.iter_lines() if line.startswith("data: {")]
    chunks = [json.loads(line[6:]) for line in lines]
    text = "".join(chunk["chunk"] for chunk in chunks)
    assert text == "Chunk 1 of 4. Chunk 2 of 4. Chunk 3 of 4. Chunk 4 of 4."
    assert chunks[-1]["finished"]
    assert "error" not in chunks[-1]


@EACH
def test_a_tool_is_called_and_its_result_comes_back(ai, session, provider):
    body = asked(
        session, provider, 'Rain? [[tool=weather {"city": "Köln"}]]', stream=False, tools=[TOOL]
    )
    first = ai.post("/api/v1/chat", json=body)
    assert first.status_code == 200, first.text
    (call,) = first.json()["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Köln"}
    result = {"tool_call_id": call["id"], "content": "It pours."}
    body = asked(
        session,
        provider,
        "So? [[text=Take a coat]]",
        stream=False,
        tools=[TOOL],
        tool_results=[result],
    )
    second = ai.post("/api/v1/chat", json=body)
    assert second.status_code == 200, second.text
    assert second.json()["message"]["content"] == "Take a coat"


@EACH
@pytest.mark.parametrize(
    ("fault", "status"), [("overloaded", 503), ("auth", 502), ("too_long", 413)]
)
def test_a_failure_is_a_status_before_the_first_byte(ai, session, provider, fault, status):
    body = asked(session, provider, f"Hi [[fail={fault}]]", stream=False)
    problem(ai.post("/api/v1/chat", json=body), status)


@EACH
def test_who_is_throttled_is_told_when_to_come_back(ai, session, provider):
    body = asked(session, provider, "Hi [[fail=rate_limit retry_after=20]]", stream=False)
    response = ai.post("/api/v1/chat", json=body)
    problem(response, 429, "provider_throttled")
    assert int(response.headers["retry-after"]) >= 20


@EACH
def test_a_picture_is_shown(ai, session, cloud, provider):
    picture = data_url()
    body = asked(session, provider, "What? [[text=A dot]]", stream=False, images=[picture])
    response = ai.post("/api/v1/chat", json=body)
    assert response.status_code == 200, response.text
    assert response.json()["message"]["content"] == "A dot"
    assert picture.partition(",")[2] in json.dumps(cloud.providers.calls[-1].body)


def test_a_provider_is_active_while_its_key_is_there(ai, cloud):
    def active() -> dict[str, bool]:
        return {p["name"]: p["is_active"] for p in ai.get("/api/v1/providers").json()}

    eventually(lambda: all(active().values()), 90)


def test_a_conversation_moves_from_one_provider_to_the_next(ai, session):
    for provider in PROVIDERS:
        body = asked(session, provider, f"Next [[text=By {provider}]]", stream=False)
        answer = ai.post("/api/v1/chat", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["message"]["content"] == f"By {provider}"


def test_a_cancelled_stream_is_closed_at_the_provider(ai, session, cloud):
    body = asked(session, "anthropic", "Stop [[chunks=500 delay=0.05]]")
    with ai.stream("POST", "/api/v1/chat/stream", json=body) as response:
        turn_id = response.headers["x-turn-id"]
        ai.post(f"/api/v1/turns/{turn_id}/cancel")
        lines = [line for line in response.iter_lines() if line.startswith("data: {")]
    assert json.loads(lines[-1][6:])["error"]["code"] == "turn_cancelled"
    assert cloud.providers.calls[-1].wait() == "left"
    turn = ai.get(f"/api/v1/turns/{turn_id}").json()
    assert (turn["status"], turn["usage_estimated"]) == ("cancelled", True)
