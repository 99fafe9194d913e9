"""The server of model providers speaks their dialects, byte by byte, and fails as it is asked."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.fakes.provider_server import ProviderServer

pytestmark = pytest.mark.enable_socket

HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01"}


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as running:
        yield running


@pytest.fixture
def connection(server):
    with closing(connect(server)) as made:
        yield made


def connect(server):
    host, port = server.url.removeprefix("http://").split(":")
    return http.client.HTTPConnection(host, int(port), timeout=10)


def body(*texts, stream=True, **more):
    sides = ("user", "assistant")
    messages = [{"role": sides[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"model": "m", "max_tokens": 9, "stream": stream, "messages": messages, **more}


def send(connection, document, headers=HEADERS, path="/v1/messages"):
    content = document if isinstance(document, bytes) else json.dumps(document)
    connection.request("POST", path, content, headers)
    return connection.getresponse()


def whole(connection, *texts):
    response = send(connection, body(*texts, stream=False))
    assert response.status == 200
    return json.loads(response.read())


def events(connection, *texts):
    response = send(connection, body(*texts))
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/event-stream")
    return parsed(response.read())


def parsed(content):
    found = []
    for frame in content.decode().split("\n\n")[:-1]:
        kind, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert kind == f"event: {event['type']}"
        found.append(event)
    return found


def texts_of(found):
    deltas = [e["delta"] for e in found if e["type"] == "content_block_delta"]
    return [delta["text"] for delta in deltas if delta["type"] == "text_delta"]


def test_an_answer_in_anthropics_events(connection):
    found = events(connection, "hello")
    assert [event["type"] for event in found] == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert "".join(texts_of(found)) == "Answer 1: hello"
    assert found[0]["message"]["usage"]["output_tokens"] == 1
    assert found[-2]["delta"]["stop_reason"] == "end_turn"
    # A token per four characters: 2 asked, 4 answered.
    assert found[-2]["usage"]["input_tokens"] == 2
    assert found[-2]["usage"]["output_tokens"] == 4


def test_a_whole_answer_says_the_same(connection):
    document = whole(connection, "hello")
    assert document["content"] == [{"type": "text", "text": "Answer 1: hello"}]
    assert document["stop_reason"] == "end_turn"
    assert document["usage"]["output_tokens"] == 4


def test_thinking_and_tools(connection):
    asked = (
        '[[thinking=Hm]] [[redacted]] [[text=So]] [[tool=weather {"city": "Köln"}]] [[tool=now]]'
    )
    found = events(connection, asked)
    blocks = [e["content_block"] for e in found if e["type"] == "content_block_start"]
    assert [block["type"] for block in blocks] == [
        "thinking",
        "redacted_thinking",
        "text",
        "tool_use",
        "tool_use",
    ]
    deltas = [e["delta"] for e in found if e["type"] == "content_block_delta"]
    assert "".join(d["thinking"] for d in deltas if d["type"] == "thinking_delta") == "Hm"
    assert any(d["type"] == "signature_delta" for d in deltas)
    pieces = [d["partial_json"] for d in deltas if d["type"] == "input_json_delta"]
    assert len(pieces) > 2
    assert json.loads("".join(pieces)) == {"city": "Köln"}
    assert found[-2]["delta"]["stop_reason"] == "tool_use"
    said = whole(connection, asked)["content"]
    assert [block["type"] for block in said] == [block["type"] for block in blocks]
    assert said[3]["input"] == {"city": "Köln"}


def test_tokens_are_those_asked_for(connection):
    asked = "[[input=10 output=5 cache_read=3 cache_write=2 reasoning=4]]"
    usage = whole(connection, asked)["usage"]
    assert usage == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 2,
        "cache_read_input_tokens": 3,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
    }
    assert events(connection, asked)[-2]["usage"] == usage


@pytest.mark.parametrize(
    ("directive", "said"), [("usage_last", (False, True)), ("usage_never", (False, False))]
)
def test_tokens_said_late_or_never(connection, directive, said):
    found = events(connection, f"[[{directive}]]")
    assert ("usage" in found[0]["message"], "usage" in found[-2]) == said


def test_pings_and_repetitions(connection):
    found = events(connection, "[[pings=3 chunks=4 repeat]] [[text=ha ]]")
    assert [event["type"] for event in found[1:4]] == ["ping"] * 3
    assert texts_of(found) == ["ha "] * 4


def test_each_chunk_leaves_when_it_is_made(server, connection):
    response = send(connection, body("[[chunks=3 step]]"))
    read = b""
    while b"Chunk 1" not in read:
        read += response.read1()
    # The second does not exist before the step: whoever waits for it here waits for ever.
    assert b"Chunk 2" not in read
    server.step(2)
    assert texts_of(parsed(read + response.read())) == [
        "Chunk 1 of 3. ",
        "Chunk 2 of 3. ",
        "Chunk 3 of 3.",
    ]


def test_pieces_of_one_byte(server):
    """Characters and lines are split between HTTP chunks, and lines end as they may."""
    address = server.url.removeprefix("http://").split(":")
    content = json.dumps(body("[[text=ü]] [[split=1 crlf]]")).encode()
    head = (
        "POST /v1/messages HTTP/1.1\r\nx-api-key: k\r\nanthropic-version: 1\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection((address[0], int(address[1])), timeout=10) as raw:
        raw.sendall(head.encode() + content)
        read = b""
        while not read.endswith(b"\r\n0\r\n\r\n"):
            read += raw.recv(65_536)
    stream = read.partition(b"\r\n\r\n")[2]
    assert b"1\r\n\xc3\r\n1\r\n\xbc\r\n" in stream
    assert b"1\r\n\r\r\n1\r\n\n\r\n" in stream


def test_all_in_one_piece(connection):
    response = send(connection, body("[[chunks=3 burst]]"))
    piece = response.read1()
    assert response.read() == b""
    assert len(texts_of(parsed(piece))) == 3


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("auth", 401, "authentication_error"),
        ("billing", 402, "billing_error"),
        ("forbidden", 403, "permission_error"),
        ("internal", 500, "api_error"),
        ("invalid", 400, "invalid_request_error"),
        ("not_found", 404, "not_found_error"),
        ("overloaded", 529, "overloaded_error"),
        ("rate_limit", 429, "rate_limit_error"),
        ("refused", 400, "invalid_request_error"),
        ("timeout", 504, "timeout_error"),
        ("too_large", 413, "request_too_large"),
        ("too_long", 400, "invalid_request_error"),
        ("unavailable", 503, "api_error"),
    ],
)
def test_failures(server, connection, name, status, kind):
    response = send(connection, body(f"[[fail={name} retry_after=7]]"))
    assert response.status == status
    assert response.headers["retry-after"] == "7"
    assert json.loads(response.read())["error"]["type"] == kind
    assert server.calls[0].wait() == "refused"
    response = send(connection, body(f"[[chunks=3 fail_after=2 fail={name}]]"))
    assert response.status == 200
    found = parsed(response.read())
    assert len(texts_of(found)) == 2
    assert (found[-1]["type"], found[-1]["error"]["type"]) == ("error", kind)
    # The connection outlives both.
    assert server.connections == 1


def test_a_bare_status(connection):
    response = send(connection, body("[[fail=502]]"))
    assert (response.status, response.headers["Content-Type"]) == (502, "text/html")


@pytest.mark.parametrize(
    "directive", ["fail=nonsense", "fail=502 fail_after=1", "split=0", "wait=-1", "tool=", "drop=x"]
)
def test_refuses_directives_it_cannot_follow(connection, directive):
    response = send(connection, body(f"[[{directive}]]"))
    assert response.status == 400
    assert b"Unknown directive" in response.read()


def test_directives_for_one_model(connection):
    script = "Hi [[at=m text=For me]] [[at=other fail=overloaded]]"
    assert whole(connection, script)["content"][0]["text"] == "For me"
    script = "Hi [[at=other text=Not for me]]"
    assert whole(connection, script)["content"][0]["text"] == "Answer 1: Hi"


def test_a_body_that_breaks_off(server, connection):
    response = send(connection, body("[[chunks=4 cut_after=2]]"))
    with pytest.raises(http.client.IncompleteRead) as failure:
        response.read()
    assert len(texts_of(parsed(failure.value.partial))) == 2
    assert (server.calls[0].wait(), server.calls[0].sent) == ("broken", 2)


def test_a_body_that_ends_too_early(server, connection):
    found = events(connection, "[[chunks=4 end_after=2]]")
    assert found[-1]["type"] == "content_block_delta"
    assert len(texts_of(found)) == 2
    assert server.calls[0].wait() == "broken"


def test_no_answer_the_first_times(server):
    for _ in range(2):
        with closing(connect(server)) as connection, pytest.raises(http.client.RemoteDisconnected):
            send(connection, body("[[drop=2]]"))
    with closing(connect(server)) as connection:
        assert send(connection, body("[[drop=2]]")).status == 200


def test_an_answer_that_ends_its_connection(server, connection):
    send(connection, body("[[close]]")).read()
    with pytest.raises(ConnectionError):
        send(connection, body("Hi"))


def test_an_answer_elsewhere(connection):
    response = send(connection, body("[[redirect]]"))
    assert (response.status, response.headers["Location"]) == (307, "/v1/messages")


@pytest.mark.parametrize(
    ("directive", "sent"),
    [
        ("hang", 0),
        ("wait=60", 0),
        ("chunks=4 hang_after=2", 2),
        ("chunks=4 step", 1),
        ("chunks=4 delay=60", 1),
    ],
)
def test_tells_when_the_client_left(server, directive, sent):
    with closing(connect(server)) as connection:
        connection.request("POST", "/v1/messages", json.dumps(body(f"[[{directive}]]")), HEADERS)
        wait_for(lambda: server.calls)
        if sent:
            with closing(connection.getresponse()) as response:
                read = b""
                while f"Chunk {sent}".encode() not in read:
                    read += response.read1()
    assert (server.calls[0].wait(), server.calls[0].sent) == ("left", sent)


def wait_for(condition):
    until = threading.Event()
    while not condition():
        until.wait(0.005)


def test_what_the_api_would_refuse(connection):
    pairs = [
        ({**body("x"), "max_tokens": None}, "max_tokens"),
        ({**body("x"), "model": None}, "model"),
        ({**body("x"), "messages": []}, "at least one message"),
        (body(" "), "non-empty"),
        (body("x", system=[{"type": "text", "text": ""}]), "non-empty"),
        ({**body("x"), "messages": [{"role": "assistant", "content": "x"}]}, "first message"),
        ({**body("x"), "messages": [{"role": "robot", "content": "x"}]}, "role"),
        (with_blocks({"type": "video"}), "unexpected content block"),
        (with_blocks({"type": "tool_result", "tool_use_id": "t"}), "tool_result"),
        (with_blocks({"type": "thinking", "thinking": "x", "signature": "forged"}), "signature"),
        (with_blocks({"type": "redacted_thinking", "data": "forged"}), "data"),
        (b"{", "model"),
        (b"[]", "model"),
        (b'{"model": "\\ud800"}', "model"),
    ]
    for document, reason in pairs:
        response = send(connection, document)
        assert response.status == 400, document
        assert reason in json.loads(response.read())["error"]["message"]


def with_blocks(*blocks):
    return {**body("x"), "messages": [{"role": "user", "content": list(blocks)}]}


def test_calls_want_their_results_at_once_and_first(connection):
    call = {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
    }
    result = {"type": "tool_result", "tool_use_id": "t", "content": "[[text=done]]"}
    text = {"type": "text", "text": "and?"}
    user = {"role": "user", "content": "x"}
    good = [user, call, {"role": "user", "content": [result]}]
    response = send(connection, {**body("x"), "messages": good})
    assert texts_of(parsed(response.read())) == ["d", "o", "ne"]
    for messages in (
        [user, call],
        [user, call, {"role": "user", "content": [text]}],
        [user, call, {"role": "user", "content": [text, result]}],
    ):
        response = send(connection, {**body("x"), "messages": messages})
        assert response.status == 400
        assert b"tool_result" in response.read()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"anthropic-version": "1"}, 401),
        ({"x-api-key": "k"}, 400),
        ({"authorization": "Bearer k", "anthropic-version": "1"}, 200),
    ],
)
def test_headers_the_api_wants(connection, headers, status):
    assert send(connection, body("x"), headers).status == status


def test_other_addresses(connection):
    assert send(connection, body("x"), path="/v1/other").status == 404
    connection.close()
    connection.request("GET", "/v1/messages")
    assert connection.getresponse().status == 404


def test_keeps_what_was_asked(server, connection):
    whole(connection, "a", "b", "c")
    whole(connection, "d")
    first, second = server.calls
    assert first.body["messages"][2]["content"] == "c"
    assert first.headers["x-api-key"] == "k"
    assert first.path == "/v1/messages"
    assert first.wait() == "complete"
    assert first.connection == second.connection == 1


def test_keeps_nothing_if_not_to(connection):
    with ProviderServer(record=False) as server, closing(connect(server)) as other:
        assert whole(other, "Hi")
        assert server.calls == []


def test_stops_while_a_call_hangs():
    with ExitStack() as later:
        with ProviderServer() as server:
            connection = later.enter_context(closing(connect(server)))
            connection.request("POST", "/v1/messages", json.dumps(body("[[hang]]")), HEADERS)
            wait_for(lambda: server.calls)
        assert server.calls[0].wait() == "stopped"


def test_runs_by_itself():
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.provider_server"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, process.stdout as output:
        try:
            host, port = output.readline().split("//")[1].strip().split(":")
            with closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
                assert send(connection, body("Hi")).status == 200
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
