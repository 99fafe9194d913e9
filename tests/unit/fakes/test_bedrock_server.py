"""The real Bedrock client reads what the fake server says, as it reads Bedrock."""

import json
import queue
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EventStreamError,
    ReadTimeoutError,
)
from botocore.session import Session
from urllib3 import exceptions as urllib3_exceptions

from tests.fakes.bedrock_server import BedrockServer

pytestmark = pytest.mark.enable_socket
MODEL = "arn:aws:bedrock:us-east-1:000000000000:inference-profile/us.amazon.nova-lite-v1:0"


@pytest.fixture
def server() -> Iterator[BedrockServer]:
    with BedrockServer() as running:
        yield running


@cache
def session() -> Session:
    return Session()


@contextmanager
def client_of(url: str, *, read_timeout: float = 10) -> Iterator[Any]:
    client = session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(read_timeout=read_timeout, retries={"total_max_attempts": 1}),
    )
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def client(server: BedrockServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with client_of(server.url) as made:
        yield made


def said(*texts: str) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": [{"text": t}]} for i, t in enumerate(texts)]


def converse(client: Any, *texts: str) -> dict[str, Any]:
    response: dict[str, Any] = client.converse(modelId=MODEL, messages=said(*texts))
    return response


def stream(client: Any, *texts: str) -> Iterator[Mapping[str, Any]]:
    response = client.converse_stream(modelId=MODEL, messages=said(*texts))
    with closing(response["stream"]) as events:
        yield from events


def deltas(events: Iterator[Mapping[str, Any]]) -> Generator[str, None, None]:
    for event in events:
        if "contentBlockDelta" in event:
            yield event["contentBlockDelta"]["delta"]["text"]


def test_converse_answers(client: Any) -> None:
    response = converse(client, "hello", "Answer 1: hello", "and now?")
    assert response["output"]["message"] == {
        "role": "assistant",
        "content": [{"text": "Answer 2: and now?"}],
    }
    assert response["stopReason"] == "end_turn"
    usage = response["usage"]
    # A token per four characters of each text: 2 + 4 + 2 in, 5 out.
    assert usage == {"inputTokens": 8, "outputTokens": 5, "totalTokens": 13}


def test_converse_stream_is_bedrocks_sequence(client: Any) -> None:
    events = list(stream(client, "hello"))
    assert [next(iter(event)) for event in events] == [
        "messageStart",
        "contentBlockDelta",
        "contentBlockDelta",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert "".join(deltas(iter(events))) == "Answer 1: hello"
    assert events[-2]["messageStop"]["stopReason"] == "end_turn"
    assert events[-1]["metadata"]["usage"] == {
        "inputTokens": 2,
        "outputTokens": 4,
        "totalTokens": 6,
    }


def test_both_calls_answer_the_same(client: Any) -> None:
    text = converse(client, "same?")["output"]["message"]["content"][0]["text"]
    assert "".join(deltas(stream(client, "same?"))) == text


def test_chunks_are_as_many_as_asked(client: Any) -> None:
    chunks = list(deltas(stream(client, "go [[chunks=10 delay=0.001]]")))
    assert len(chunks) == 10
    assert "".join(chunks).startswith("Chunk 1 of 10. Chunk 2 of 10. ")


def test_text_is_given_in_pieces_of_whole_characters(client: Any) -> None:
    chunks = list(deltas(stream(client, "[[text=Grüße, 世界 😀]] [[chunks=5]]")))
    assert len(chunks) == 5
    assert "".join(chunks) == "Grüße, 世界 😀"


def test_stop_reason(client: Any) -> None:
    assert converse(client, "[[stop=max_tokens]]")["stopReason"] == "max_tokens"


def test_brackets_around_other_things_are_text(client: Any) -> None:
    response = converse(client, "see [[Home Page]] [[chunks=2]]")
    assert response["output"]["message"]["content"][0]["text"] == "Chunk 1 of 2. Chunk 2 of 2."
    response = converse(client, "see [[Home Page]]")
    text = response["output"]["message"]["content"][0]["text"]
    assert text == "Answer 1: see [[Home Page]]"


def test_only_the_last_message_directs(client: Any) -> None:
    response = converse(client, "[[fail=ThrottlingException]]", "no", "again")
    assert response["output"]["message"]["content"][0]["text"] == "Answer 2: again"


def test_each_chunk_leaves_when_it_is_made(server: BedrockServer, client: Any) -> None:
    chunks = deltas(stream(client, "[[chunks=3 step]]"))
    # The second chunk does not exist before the first was read: whoever waits for more than one
    # chunk's bytes here, the server or the client, waits for ever.
    assert next(chunks) == "Chunk 1 of 3. "
    server.step()
    assert next(chunks) == "Chunk 2 of 3. "
    server.step()
    assert list(chunks) == ["Chunk 3 of 3."]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("ThrottlingException", 429),
        ("AccessDeniedException", 403),
        ("ResourceNotFoundException", 404),
        ("ModelTimeoutException", 408),
        ("InternalServerException", 500),
        ("ServiceUnavailableException", 503),
        ("ValidationException", 400),
        ("ModelNotReadyException", 429),
        ("ModelErrorException", 424),
    ],
)
def test_fails_before_the_first_byte(client: Any, name: str, status: int) -> None:
    for call in (converse, lambda c, text: list(stream(c, text))):
        with pytest.raises(ClientError) as caught:
            call(client, f"[[fail={name}]]")
        assert type(caught.value) is getattr(client.exceptions, name)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize(
    ("directive", "code"),
    [
        ("fail_after=2", "modelStreamErrorException"),
        ("fail_after=2 fail=ThrottlingException", "throttlingException"),
        ("fail_after=2 fail=InternalServerException", "internalServerException"),
    ],
)
def test_fails_within_the_stream(client: Any, directive: str, code: str) -> None:
    chunks = deltas(stream(client, f"[[chunks=4 {directive}]]"))
    assert [next(chunks), next(chunks)] == ["Chunk 1 of 4. ", "Chunk 2 of 4. "]
    with pytest.raises(EventStreamError) as caught:
        next(chunks)
    assert caught.value.response["Error"]["Code"] == code


def test_a_whole_answer_fails_instead_of_within(client: Any) -> None:
    with pytest.raises(client.exceptions.ModelErrorException):
        converse(client, "[[fail_after=2]]")


# Once a stream has begun botocore lets urllib3's exceptions through as they are.
@pytest.mark.parametrize(
    ("directive", "expected"),
    [
        ("hang", ReadTimeoutError),
        ("hang_after=0", urllib3_exceptions.ReadTimeoutError),
        ("chunks=3 hang_after=2", urllib3_exceptions.ReadTimeoutError),
    ],
)
def test_hangs_until_the_client_loses_patience(
    server: BedrockServer, directive: str, expected: type[Exception]
) -> None:
    with client_of(server.url, read_timeout=0.2) as client, pytest.raises(expected):
        list(stream(client, f"[[{directive}]]"))


def test_a_whole_answer_hangs_too(server: BedrockServer) -> None:
    with client_of(server.url, read_timeout=0.2) as client, pytest.raises(ReadTimeoutError):
        converse(client, "[[hang]]")


def test_cuts_the_connection(client: Any) -> None:
    chunks = deltas(stream(client, "[[chunks=4 cut_after=2]]"))
    assert [next(chunks), next(chunks)] == ["Chunk 1 of 4. ", "Chunk 2 of 4. "]
    with pytest.raises(urllib3_exceptions.ProtocolError):
        next(chunks)
    with pytest.raises(ConnectionClosedError):
        converse(client, "[[cut_after=2]]")


def test_stops_while_a_call_hangs() -> None:
    outcome: queue.Queue[Exception] = queue.Queue()

    def hang(url: str) -> None:
        with client_of(url) as client:
            try:
                converse(client, "[[hang]]")
            except ConnectionClosedError as error:
                outcome.put(error)

    with BedrockServer() as server:
        thread = threading.Thread(target=hang, args=(server.url,))
        thread.start()
        while not server.calls:
            thread.join(0.01)
    thread.join()
    assert isinstance(outcome.get_nowait(), ConnectionClosedError)


def test_a_client_that_leaves_does_not_stop_the_server(server: BedrockServer) -> None:
    with client_of(server.url) as client:
        chunks = deltas(stream(client, "[[chunks=3 step]]"))
        next(chunks)
        chunks.close()
    with client_of(server.url) as client:
        assert converse(client, "still there?")["stopReason"] == "end_turn"


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ((" ",), "blank"),
        (("a", "", "b"), "messages.1.content.0 is blank"),
    ],
)
def test_refuses_blank_text_as_bedrock_does(
    client: Any, texts: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(client.exceptions.ValidationException, match=re.escape(reason)):
        converse(client, *texts)


@pytest.mark.parametrize(
    ("roles", "reason"),
    [(["assistant"], "start with a user message"), (["user", "user"], "alternate")],
)
def test_refuses_other_orders_of_roles(client: Any, roles: list[str], reason: str) -> None:
    messages = [{"role": role, "content": [{"text": "x"}]} for role in roles]
    with pytest.raises(client.exceptions.ValidationException, match=reason):
        client.converse(modelId=MODEL, messages=messages)


@pytest.mark.parametrize(
    "directive", ["chunks=0", "chunks=x", "delay=-1", "hang nonsense", "fail=", "hang=1"]
)
def test_refuses_directives_it_cannot_follow(client: Any, directive: str) -> None:
    with pytest.raises(client.exceptions.ValidationException, match="Unknown directive"):
        converse(client, f"[[{directive}]]")


def test_keeps_what_was_asked(server: BedrockServer, client: Any) -> None:
    client.converse(modelId=MODEL, messages=said("hello"), system=[{"text": "be brief"}])
    [call] = server.calls
    assert (call.operation, call.model) == ("converse", MODEL)
    assert call.body["messages"] == said("hello")
    assert call.body["system"] == [{"text": "be brief"}]
    assert call.headers["authorization"].startswith("AWS4-HMAC-SHA256")


def test_knows_no_other_operation(client: Any) -> None:
    with pytest.raises(ClientError) as caught:
        client.invoke_model(modelId=MODEL, body=b"{}")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


class Upstream(BaseHTTPRequestHandler):
    """Tells what it was sent, in pieces that follow each other when the test says so."""

    protocol_version = "HTTP/1.1"
    proceed: threading.Event

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        told = {"path": self.path, "headers": dict(self.headers.items()), "body": body}
        first, second = json.dumps(told).encode(), b"\n"
        self.send_response(203)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-From", "upstream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(f"{len(first):x}\r\n".encode() + first + b"\r\n")
        self.proceed.wait()
        self.wfile.write(f"{len(second):x}\r\n".encode() + second + b"\r\n0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def upstream() -> Iterator[tuple[str, threading.Event]]:
    class Handler(Upstream):
        proceed = threading.Event()

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}", Handler.proceed
    finally:
        Handler.proceed.set()
        http.shutdown()
        thread.join()
        http.server_close()


def test_hands_other_calls_on_unchanged(upstream: tuple[str, threading.Event]) -> None:
    url, proceed = upstream
    body = json.dumps({"messages": said("hello")}).encode()
    headers = {
        "Host": "bedrock-runtime.us-east-1.amazonaws.com",
        "Authorization": "AWS4-HMAC-SHA256 Credential=x",
        "X-Amz-Date": "20260105T093000Z",
        "Content-Type": "application/json",
    }
    with BedrockServer(upstream=url) as server:
        path = "/model/a%3A0/converse?x=1"
        request = urllib.request.Request(server.url + path, data=body, headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            # The upstream's first piece is here although its second has not left.
            told = json.loads(response.read1())
            proceed.set()
            assert response.read() == b"\n"
            assert response.status == 203
            assert response.headers["X-From"] == "upstream"
    assert told["path"] == path
    assert told["body"].encode() == body
    assert told["headers"].items() >= headers.items()


def test_follows_directives_although_there_is_an_upstream(
    upstream: tuple[str, threading.Event],
) -> None:
    with BedrockServer(upstream=upstream[0]) as server, client_of(server.url) as client:
        assert list(deltas(stream(client, "[[text=mine]] [[chunks=1]]"))) == ["mine"]


def test_says_when_the_upstream_is_gone() -> None:
    with BedrockServer() as gone:
        pass
    with (
        BedrockServer(upstream=gone.url) as server,
        client_of(server.url) as client,
        pytest.raises(ClientError, match="ServiceUnavailableException"),
    ):
        converse(client, "hello")


def test_runs_by_itself() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.bedrock_server"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with client_of(url) as client:
            assert converse(client, "hello")["stopReason"] == "end_turn"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 0
