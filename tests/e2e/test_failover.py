"""Models that fail through the deployed cloud: who answers in their place, and who is told what."""

import itertools
import json

import pytest

from tests.e2e.conftest import eventually

pytestmark = pytest.mark.usefixtures("keys")
# Failing models are no other test's: circuits are shared. They refuse with 529, 503 and 429, and
# Gemini says when to come back, which is too late.
REFUSALS = [
    (("anthropic", "claude-haiku-5-5"), "overloaded", 3, ("bedrock", "amazon.nova-pro-v1:0")),
    (("openai", "gpt-5-mini"), "unavailable", 3, ("anthropic", "claude-sonnet-4-6")),
    (("gemini", "gemini-2.5-flash"), "rate_limit", 1, ("openai-compatible", "llama3.2")),
]
FIRST, SECOND = ("anthropic", "claude-opus-5-5"), ("openai", "gpt-4.1")
MIDWAY = f"Go on [[at={FIRST[1]} chunks=4 fail_after=2]] [[at={SECOND[1]} text=Quite another]]"
OLD, NEW = "Chunk 1 of 4. Chunk 2 of 4. ", "Quite another"
ATTEMPTS = 3
FAILURES = 5
"""That many candidates given up open a circuit."""

_projects = itertools.count(4001)


@pytest.fixture
def routed(ai):
    """Makes a project whose messages the first model answers, and the second in its place."""

    def make(first: tuple[str, str], second: tuple[str, str]) -> dict:
        project = next(_projects)
        policy = {"default": [target(first) | {"weight": 1}], "fallbacks": [target(second)]}
        response = ai.put(f"/api/v1/routing/project-{project}", json=policy)
        assert response.status_code == 200, response.text
        return {"project_id": project, "user_id": 7}

    return make


def target(name: tuple[str, str]) -> dict:
    return dict(zip(("provider", "model"), name, strict=True))


def streamed(ai, body: dict, protocol: str) -> tuple[str, list[dict]]:
    """The turn's id, and what the data lines held."""
    params = {"protocol": protocol}
    with ai.stream("POST", "/api/v1/chat/stream", json=body, params=params) as response:
        assert response.status_code == 200, response.read()
        lines = [line[6:] for line in response.iter_lines() if line.startswith("data: {")]
        return response.headers["x-turn-id"], [json.loads(line) for line in lines]


def followed(ai, turn_id: str) -> list[dict]:
    response = ai.get(f"/api/v1/turns/{turn_id}/events")
    return [json.loads(line[6:]) for line in response.text.splitlines() if line[:5] == "data:"]


def turn_of(ai, turn_id: str) -> dict:
    return ai.get(f"/api/v1/turns/{turn_id}").json()


def kept(ai, turn: dict) -> dict:
    """The session's last message, which is the turn's."""
    message = ai.get(f"/api/v1/sessions/{turn['session_id']}").json()["messages"][-1]
    assert message["id"] == turn["message_id"]
    return message


@pytest.mark.parametrize("path", ["chat", "chat/stream"])
@pytest.mark.parametrize(("failing", "failure", "attempts", "standing_in"), REFUSALS)
def test_a_failure_before_the_first_content_is_not_heard_of(
    ai, cloud, routed, failing, failure, attempts, standing_in, path
):
    model = failing[1]
    message = f"Hi [[at={model} fail={failure}]] [[at={standing_in[1]} text=Here I am]]"
    body = {**routed(failing, standing_in), "message": message}
    before = cloud.asked(model)
    if path == "chat":
        response = ai.post("/api/v1/chat", json={**body, "stream": False})
        assert response.status_code == 200, response.text
        assert response.json()["message"]["content"] == "Here I am"
        turn_id = response.json()["turn_id"]
    else:
        turn_id, chunks = streamed(ai, body, "v1")
        assert "".join(chunk["chunk"] for chunk in chunks) == "Here I am"
        assert not any("error" in chunk for chunk in chunks)
    assert cloud.asked(model) == before + attempts
    turn = turn_of(ai, turn_id)
    assert turn["status"] == "completed"
    assert (turn["provider"], turn["model"]) == standing_in
    assert kept(ai, turn)["content"] == "Here I am"
    assert "restart" not in {event["type"] for event in followed(ai, turn_id)}
    # The session keeps whom it was begun with.
    session = ai.get(f"/api/v1/sessions/{turn['session_id']}").json()
    assert (session["provider"], session["model"]) == failing


def test_whoever_can_be_told_hears_that_the_answer_begins_anew(ai, routed):
    turn_id, events = streamed(ai, {**routed(FIRST, SECOND), "message": MIDWAY}, "events")
    kinds = [event["type"] for event in events]
    assert [kind for kind, _ in itertools.groupby(kinds)] == [
        "start",
        "text",
        "restart",
        "text",
        "end",
    ]
    at = kinds.index("restart")
    assert (events[at]["provider"], events[at]["model"]) == SECOND
    assert "".join(event["text"] for event in events[1:at]) == OLD
    assert "".join(event["text"] for event in events[at + 1 : -1]) == NEW
    assert [event["sequence"] for event in events] == list(range(len(events)))
    turn = turn_of(ai, turn_id)
    assert events[-1]["turn"] == turn
    assert (turn["status"], turn["provider"], turn["model"]) == ("completed", *SECOND)
    assert kept(ai, turn)["content"] == NEW
    # Whoever comes later hears what counts.
    texts = [event.get("text", "") for event in followed(ai, turn_id)]
    assert "".join(texts) == NEW


def test_a_chat_that_does_not_stream_has_the_new_text_alone(ai, routed):
    body = {**routed(FIRST, SECOND), "message": MIDWAY, "stream": False}
    response = ai.post("/api/v1/chat", json=body)
    assert response.status_code == 200, response.text
    assert response.json()["message"]["content"] == NEW
    turn = turn_of(ai, response.json()["turn_id"])
    assert (turn["provider"], turn["model"]) == SECOND


def test_a_caller_of_v1_keeps_the_text_it_has(ai, cloud, routed):
    before = cloud.asked(SECOND[1])
    turn_id, chunks = streamed(ai, {**routed(FIRST, SECOND), "message": MIDWAY}, "v1")
    assert "".join(chunk["chunk"] for chunk in chunks) == OLD
    assert chunks[-1]["finished"]
    assert chunks[-1]["error"]["code"] == "provider_unavailable"
    assert cloud.asked(SECOND[1]) == before
    turn = turn_of(ai, turn_id)
    assert (turn["status"], turn["provider"], turn["model"]) == ("failed", *FIRST)
    assert chunks[-1]["message_id"] == turn["message_id"]
    assert kept(ai, turn)["content"] == OLD


def chat(ai, body: dict) -> dict:
    """The turn of a chat, which the streaming function's process sees through."""
    response = ai.post("/api/v1/chat", json={**body, "stream": False})
    assert response.status_code == 200, response.text
    return turn_of(ai, response.json()["turn_id"])


def job(ai, body: dict) -> dict:
    """The turn of a job, which a worker's process sees through."""
    response = ai.post("/api/v1/jobs", json=body)
    assert response.status_code == 202, response.text
    path = f"/api/v1/jobs/{response.json()['job_id']}"
    eventually(lambda: ai.get(path).json()["status"] == "completed")
    return turn_of(ai, response.json()["job_id"])


@pytest.mark.parametrize(
    ("learns", "profits", "failing"),
    [
        (chat, job, ("anthropic", "claude-fable-5-2")),
        (job, chat, ("openai", "gpt-4.1-mini")),
    ],
    ids=["from_chat_to_job", "from_job_to_chat"],
)
def test_what_one_process_learned_of_a_model_spares_the_next(
    ai, cloud, routed, learns, profits, failing
):
    standing_in = ("gemini", "gemini-2.5-pro")
    person = routed(failing, standing_in)
    # Whoever is to profit has started by then: a circuit is open for half a minute.
    profits(ai, {**person, **target(standing_in), "message": "Good morning"})
    before = cloud.asked(failing[1])
    message = f"Hi [[at={failing[1]} fail=overloaded]]"
    for _ in range(FAILURES):
        turn = learns(ai, {**person, "message": message})
        assert (turn["provider"], turn["model"]) == standing_in
    assert cloud.asked(failing[1]) == before + FAILURES * ATTEMPTS
    # It would answer now; nobody asks it.
    turn = profits(ai, {**person, **target(failing), "message": "And now?"})
    assert (turn["provider"], turn["model"]) == standing_in
    assert cloud.asked(failing[1]) == before + FAILURES * ATTEMPTS
