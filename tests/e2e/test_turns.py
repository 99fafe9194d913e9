"""Turns across connections: followed, taken up again, cancelled, one at a time in a session."""

import json
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.conftest import chat_request, eventually, problem

HEADERS = {"Idempotency-Key": "turns"}
MODELS = {
    "bedrock": "amazon.nova-lite-v1:0",
    "openai": "gpt-5.4-mini",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-3.8-flash",
    "openai-compatible": "llama3.2",
}
# These bill an answer whole: it is read to its end, and nobody hears it.
DRAINED = {"bedrock", "gemini"}
EACH = pytest.mark.parametrize("provider", MODELS)

pytestmark = pytest.mark.usefixtures("keys")


class Stream(threading.Thread):
    """A stream that somebody reads to its end, or until it is told to leave."""

    def __init__(self, client: httpx.Client, method: str, url: str, **request) -> None:
        super().__init__(daemon=True)
        self._open = lambda: client.stream(method, url, **request)
        self._leave = threading.Event()
        self._opened = threading.Event()
        self.status = 0
        self.headers = httpx.Headers()
        self.lines: list[str] = []
        self.start()

    def run(self) -> None:
        with self._open() as response:
            self.status, self.headers = response.status_code, response.headers
            self._opened.set()
            for line in response.iter_lines():
                self.lines.append(line)
                if self._leave.is_set():
                    return

    def opened(self) -> str:
        """The turn's id, once the status is known."""
        assert self._opened.wait(30)
        assert self.status == 200, self.lines
        return self.headers["x-turn-id"]

    def leave(self) -> None:
        self._leave.set()

    def ended(self) -> list[dict]:
        """What all its data lines held."""
        self.join(30)
        assert not self.is_alive()
        return self.data()

    def data(self) -> list[dict]:
        return [json.loads(line[6:]) for line in self.lines if line.startswith("data: {")]


def question(session: dict, provider: str, message: str) -> dict:
    return chat_request(session, message, provider=provider, model=MODELS[provider])


@pytest.fixture
def client(cloud) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cloud.ai, timeout=60) as client:
        yield client


def turn_of(ai: httpx.Client, turn_id: str) -> dict:
    response = ai.get(f"/api/v1/turns/{turn_id}")
    assert response.status_code == 200, response.text
    return response.json()


@EACH
def test_a_stream_is_taken_up_from_another_connection_where_it_broke_off(
    ai, client, session, cloud, provider
):
    server = cloud.model_server(provider)
    server.forget_steps()
    body = question(session, provider, "Go on without me [[chunks=6 step]]")
    first = Stream(client, "POST", "/api/v1/chat/stream", json=body)
    turn_id = first.opened()
    server.step(2)
    eventually(lambda: len(first.data()) == 3)
    first.leave()
    second = Stream(
        client, "GET", f"/api/v1/turns/{turn_id}/events", headers={"Last-Event-ID": "2"}
    )
    assert second.opened() == turn_id
    eventually(lambda: [event["sequence"] for event in second.data()] == [2, 3])
    server.step(3)
    events = second.ended()
    assert [event["type"] for event in events] == ["start", *["text"] * 4, "end"]
    assert [event["sequence"] for event in events] == [2, 3, 4, 5, 6, 7]
    turn = events[-1]["turn"]
    assert turn == turn_of(ai, turn_id)
    assert (turn["status"], turn["stop"]) == ("completed", "end")
    assert (turn["provider"], turn["model"]) == (provider, MODELS[provider])
    assert turn["usage"]["output"] > 0
    stored = ai.get(f"/api/v1/sessions/{session['session_id']}").json()["messages"][-1]
    heard = [c["chunk"] for c in first.data()[:2]] + [e.get("text", "") for e in events[1:]]
    assert "".join(heard) == stored["content"]
    assert turn["message_id"] == stored["id"]
    # And once more, as v1 has it, from the beginning.
    again = ai.get(f"/api/v1/turns/{turn_id}/events?protocol=v1")
    assert again.text.rstrip().endswith("data: [DONE]")


def test_the_key_of_a_running_turn_leads_to_it(ai, client, session, cloud):
    cloud.bedrock.forget_steps()
    body = chat_request(session, "Only once [[chunks=3 step]]")
    asked = len(cloud.bedrock.calls)
    first = Stream(client, "POST", "/api/v1/chat/stream", json=body, headers=HEADERS)
    turn_id = first.opened()
    second = Stream(client, "POST", "/api/v1/chat/stream", json=body, headers=HEADERS)
    assert second.opened() == turn_id
    cloud.bedrock.step(2)
    assert first.ended() == second.ended()
    assert len(cloud.bedrock.calls) == asked + 1


@EACH
def test_a_turn_is_cancelled_from_another_connection(ai, client, session, cloud, provider):
    server = cloud.model_server(provider)
    server.forget_steps()
    body = question(session, provider, "Stop me [[chunks=5 step]]")
    stream = Stream(client, "POST", "/api/v1/chat/stream", json=body)
    turn_id = stream.opened()
    server.step(1)
    eventually(lambda: len(stream.data()) == 2)
    asked = time.monotonic()
    cancelled = ai.post(f"/api/v1/turns/{turn_id}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["cancelling"]
    eventually(lambda: turn_of(ai, turn_id)["status"] == "cancelled", seconds=10)
    print(f"cancelled within {time.monotonic() - asked:.3f} s")  # noqa: T201 - by pytest -rP
    eventually(lambda: stream.data()[-1]["finished"])
    if provider in DRAINED:
        server.step(3)
    else:
        assert server.calls[-1].wait() == "left"
    last = stream.ended()[-1]
    assert last["error"]["code"] == "turn_cancelled"
    turn = turn_of(ai, turn_id)
    assert turn["message_id"] == last["message_id"]
    assert turn["usage_estimated"] == (provider not in DRAINED)
    kept = ai.get(f"/api/v1/sessions/{session['session_id']}").json()["messages"][-1]
    assert kept["content"] == "Chunk 1 of 5. Chunk 2 of 5. "
    assert turn["delivered_tokens"] > 0
    if provider in DRAINED:
        assert turn["delivered_tokens"] < turn["usage"]["output"]
        assert kept["tokens_used"] == turn["usage"]["input"] + turn["usage"]["output"]
    else:
        assert turn["delivered_tokens"] == turn["usage"]["output"]
        # A message has no figures that are estimated.
        assert kept["tokens_used"] is None


def test_a_session_answers_one_message_at_a_time(ai, client, session, cloud):
    cloud.bedrock.forget_steps()
    stream = Stream(
        client, "POST", "/api/v1/chat/stream", json=chat_request(session, "I [[chunks=2 step]]")
    )
    turn_id = stream.opened()
    refused = ai.post("/api/v1/chat", json=chat_request(session, "Me too", stream=False))
    assert problem(refused, 409, "turn_in_progress")["turn_id"] == turn_id
    cloud.bedrock.step(1)
    stream.ended()
    answered = ai.post("/api/v1/chat", json=chat_request(session, "Now me", stream=False))
    assert answered.status_code == 200


def test_a_turn_that_nobody_knows(ai):
    problem(ai.get("/api/v1/turns/nothing"), 404, "turn_not_found")
    problem(ai.get("/api/v1/turns/nothing/events"), 404, "turn_not_found")
    problem(ai.post("/api/v1/turns/nothing/cancel"), 404, "turn_not_found")
