"""Streamed calls: chunks as they come, and processes replaced, drained and missed."""

import asyncio
from pathlib import Path

import httpx
import pytest

from localcloud.door import streamed
from localcloud.door.http import Request
from localcloud.door.problems import Problem
from localcloud.door.streamed import StreamedApplication
from localcloud.streaming import StreamedFunction

FUNCTION = StreamedFunction(
    name="santaclaude-local-ai-stream",
    arn="arn",
    service="ai",
    handler="functions/ai/stream.sh",
    role="arn:role",
    environment={},
    memory_mb=128,
    timeout_seconds=5,
    code=Path("code"),
    layers=[],
)
REQUEST = Request(
    "POST",
    "/api/v1/chat/stream",
    "x=1",
    [(b"host", b"localhost:8001"), (b"connection", b"close"), (b"accept", b"text/event-stream")],
    b"{}",
)


class Operator:
    async def session_of(self, role):
        assert role == FUNCTION.role


class Body(httpx.AsyncByteStream):
    """Chunks; a call among them is awaited before the rest, an error ends them."""

    def __init__(self, parts):
        self.parts = parts
        self.read = 0

    async def __aiter__(self):
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            if callable(part):
                await part()
            else:
                self.read += 1
                yield part


class Child:
    """Stands in for a process."""

    made: list["Child"] = []  # noqa: RUF012
    answer = None

    def __init__(self, function, plan, session):
        self.function = function
        self.answering = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.fresh = True
        self.stopped = False
        self.ended = asyncio.Event()
        self.requests = []
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._serve))
        Child.made.append(self)

    def _serve(self, request):
        self.requests.append(request)
        if isinstance(Child.answer, Exception):
            raise Child.answer
        return httpx.Response(
            200, headers={"content-type": "text/event-stream"}, stream=Child.answer
        )

    def usable(self):
        return self.fresh

    async def start(self):
        pass

    def lambda_context(self):
        return b'{"request_id": "1"}'

    async def stop(self):
        self.stopped = True
        self.ended.set()


@pytest.fixture(autouse=True)
def _children(monkeypatch):
    monkeypatch.setattr(streamed, "Child", Child)
    monkeypatch.setattr(Child, "made", [])
    monkeypatch.setattr(Child, "answer", Body([b"data: 1\n\n", b"data: 2\n\n"]))


class Client:
    """What the front door's own server is to the application."""

    def __init__(self):
        self.sent = []
        self.began = asyncio.Event()
        self.left = asyncio.Event()

    async def send(self, message):
        self.sent.append(message)
        self.began.set()

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}

    @property
    def bodies(self):
        return [message["body"] for message in self.sent[1:]]

    @property
    def complete(self):
        return not self.sent[-1].get("more_body", False)


def run(scenario):
    async def main():
        application = StreamedApplication(FUNCTION, None, Operator())
        return await scenario(application)

    return asyncio.run(main())


async def answer(application, client):
    return await application.answer(REQUEST, b'{"identity":{}}', client.send, client.receive)


def test_every_chunk_is_passed_on_by_itself():
    async def scenario(application):
        client = Client()
        assert await answer(application, client) == 200
        return client

    client = run(scenario)
    assert client.sent[0]["status"] == 200
    assert client.bodies == [b"data: 1\n\n", b"data: 2\n\n", b""]
    assert client.complete
    (request,) = Child.made[0].requests
    assert request.extensions["target"] == b"/api/v1/chat/stream?x=1"
    assert request.headers["x-amzn-request-context"] == '{"identity":{}}'
    assert request.headers["x-amzn-lambda-context"] == '{"request_id": "1"}'
    assert request.headers["host"] == "localhost:8001"
    assert request.headers["content-length"] == "2"
    assert "connection" not in request.headers


def test_an_application_that_dies_leaves_the_answer_visibly_incomplete(monkeypatch):
    monkeypatch.setattr(Child, "answer", Body([b"data: 1\n\n", httpx.ReadError("gone")]))

    async def scenario(application):
        client = Client()
        await answer(application, client)
        return client

    client = run(scenario)
    assert client.bodies == [b"data: 1\n\n"]
    assert not client.complete


def test_an_application_that_dies_before_its_answer_is_a_problem(monkeypatch):
    monkeypatch.setattr(Child, "answer", httpx.ReadError("gone"))

    async def scenario(application):
        await answer(application, Client())

    with pytest.raises(Problem) as caught:
        run(scenario)
    assert (caught.value.status, caught.value.code) == (502, "application_failed")


def test_an_application_is_not_told_that_the_client_left(monkeypatch):
    async def scenario(application):
        client = Client()

        async def leave():
            client.left.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        body = Body([b"data: 1\n\n", leave, b"data: 2\n\n", b"data: 3\n\n"])
        monkeypatch.setattr(Child, "answer", body)
        await answer(application, client)
        return client, body

    client, body = run(scenario)
    assert body.read == 3
    assert client.bodies[0] == b"data: 1\n\n"
    assert b"data: 3\n\n" not in client.bodies


def test_a_process_whose_time_is_up_is_replaced_and_finishes_its_answers(monkeypatch):
    async def scenario(application):
        await application.start()
        (first,) = Child.made
        held = asyncio.Event()
        monkeypatch.setattr(Child, "answer", Body([b"data: 1\n\n", held.wait, b"data: 2\n\n"]))
        slow = Client()
        under_way = asyncio.create_task(answer(application, slow))
        await slow.began.wait()
        first.fresh = False
        monkeypatch.setattr(Child, "answer", Body([b"data: new\n\n"]))
        quick = Client()
        await answer(application, quick)
        assert quick.bodies[0] == b"data: new\n\n"
        assert not first.stopped
        held.set()
        await under_way
        assert slow.complete
        await first.ended.wait()
        second = Child.made[1]
        await application.stop()
        assert second.stopped

    run(scenario)
    assert len(Child.made) == 2


def test_calls_at_once_share_one_process():
    async def scenario(application):
        calls = [answer(application, Client()) for _ in range(5)]
        await asyncio.gather(*calls)

    run(scenario)
    assert len(Child.made) == 1


def test_an_answer_without_end_is_cut_short_at_the_functions_time(monkeypatch):
    async def scenario(_application):
        brief = FUNCTION.model_copy(update={"timeout_seconds": 0.05})
        monkeypatch.setattr(Child, "answer", Body([b"data: 1\n\n", asyncio.Event().wait]))
        client = Client()
        async with asyncio.timeout(10):
            await answer(StreamedApplication(brief, None, Operator()), client)
        return client

    client = run(scenario)
    assert client.bodies == [b"data: 1\n\n"]
    assert not client.complete
    assert Child.made[0].answering == 0
