"""Chunks reach the client as the model makes them."""

import json
import socket
import threading
import time

import httpx

from tests.e2e.conftest import chat_request, eventually


def data(line: str) -> dict:
    assert line.startswith("data: ")
    return json.loads(line.removeprefix("data: "))


def test_each_chunk_arrives_before_the_next_is_made(ai, session, cloud):
    """The model waits for a nod before each further chunk; the nod comes when the last arrived."""
    body = chat_request(session, "Slowly, please [[chunks=6 step]]")
    arrivals = []
    with ai.stream("POST", "/api/v1/chat/stream", json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in response.iter_lines() if line.startswith("data: "))
        for line in lines:
            if line == "data: [DONE]":
                break
            chunk = data(line)
            arrivals.append((time.monotonic(), chunk))
            if not chunk["finished"]:
                cloud.bedrock.step()
        assert list(lines) == []
    started = arrivals[0][0]
    for at, chunk in arrivals:
        print(f"{at - started:7.3f} s  {chunk['chunk']!r}")  # noqa: T201 - shown by pytest -rP
    assert [chunk["finished"] for _, chunk in arrivals] == [False] * 6 + [True]
    last = arrivals[-1][1]
    assert last["chunk"] == ""
    stored = ai.get(f"/api/v1/sessions/{session['session_id']}").json()["messages"][-1]
    assert stored["id"] == last["message_id"]
    assert stored["content"] == "".join(chunk["chunk"] for _, chunk in arrivals)


def test_a_turn_goes_on_when_its_client_leaves(ai, session, cloud):
    body = chat_request(session, "I shall not wait [[chunks=4 step]]")
    with ai.stream("POST", "/api/v1/chat/stream", json=body) as response:
        next(line for line in response.iter_lines() if line)
    cloud.bedrock.step(3)
    path = f"/api/v1/sessions/{session['session_id']}"
    for _ in range(100):
        messages = ai.get(path).json()["messages"]
        if messages[-1]["role"] == "assistant":
            break
        time.sleep(0.1)
    assert messages[-1]["role"] == "assistant"
    assert messages[-1]["content"]


def test_a_reader_that_stops_reading_holds_nothing_up(ai, session, cloud):
    """Nor does it miss anything: the rest waits for it."""
    body = chat_request(session, "Much [[chunks=8000]]")
    small = httpx.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)])
    with (
        httpx.Client(base_url=cloud.ai, timeout=60, transport=small) as slow,
        slow.stream("POST", "/api/v1/chat/stream", json=body) as response,
    ):
        lines = (line for line in response.iter_lines() if line.startswith("data: {"))
        first = data(next(lines))
        turn_id = response.headers["x-turn-id"]
        eventually(lambda: ai.get(f"/api/v1/turns/{turn_id}").json()["status"] == "completed")
        chunks = [first, *map(data, lines)]
    assert chunks[-1]["finished"]
    assert "error" not in chunks[-1]
    stored = ai.get(f"/api/v1/sessions/{session['session_id']}").json()["messages"][-1]
    assert stored["content"] == "".join(chunk["chunk"] for chunk in chunks)
    assert stored["content"].endswith("Chunk 8000 of 8000.")


def test_silence_is_told_on_the_way(ai, session, cloud):
    """Whatever stands between does not take the connection for dead, nor hold the comment back."""
    body = chat_request(session, "Let me think [[chunks=2 step]]")
    with ai.stream("POST", "/api/v1/chat/stream", json=body) as response:
        lines = [line for line in response.iter_lines() if line and _lets_go_on(cloud, line)]
    at = lines.index(": nothing new")
    assert [line for line in lines[:at] if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    chunks = [data(line) for line in lines if line.startswith("data: {")]
    assert "".join(chunk["chunk"] for chunk in chunks) == "Chunk 1 of 2. Chunk 2 of 2."


def _lets_go_on(cloud, line: str) -> bool:
    """The model goes on once the comment has come."""
    if line.startswith(":"):
        cloud.bedrock.step()
    return True


def test_streams_do_not_wait_for_each_other(ai, session, cloud):
    """One stream stands still in the middle while another is answered whole."""
    slow = chat_request(session, "Wait for me [[chunks=2 step]]")
    seen = threading.Event()
    done = []

    def run() -> None:
        with ai.stream("POST", "/api/v1/chat/stream", json=slow) as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    seen.set()
                    done.append(line)

    thread = threading.Thread(target=run)
    thread.start()
    assert seen.wait(30)
    quick = ai.post(
        "/api/v1/chat",
        json={"message": "Meanwhile", "project_id": 1, "user_id": 7, "stream": False},
    )
    assert quick.status_code == 200
    assert done[-1] != "data: [DONE]"
    cloud.bedrock.step(1)
    thread.join(30)
    assert done[-1] == "data: [DONE]"


def test_text_of_every_script_arrives_whole(ai, session):
    text = "Grüße, 你好, 👋🏽"
    body = chat_request(session, f"Say it [[text={text}]] [[chunks=9]]")
    with ai.stream("POST", "/api/v1/chat/stream", json=body) as response:
        lines = [line for line in response.iter_lines() if line.startswith("data: {")]
    assert "".join(data(line)["chunk"] for line in lines) == text
