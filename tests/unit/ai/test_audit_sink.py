"""The audit sink's answers, as the sender understands them."""

import json

import httpx
import pytest

from contracts.audit.client import AuditClient
from contracts.audit.sink import AuditSink
from functions.ai.domain.audit import Action, Operations, Subject
from functions.ai.domain.models import SessionFilter
from servicekit.audit import AuditTrail
from servicekit.audit_sender import (
    LATER,
    MAX_EVENTS,
    STORED,
    SinkRefusedError,
    SinkUnavailableError,
    Verdict,
)
from servicekit.parameters import ParameterUnavailableError
from tests.fakes.memory import MemoryOutbox

pytestmark = pytest.mark.anyio

URL = "http://127.0.0.1:4566/_aws/execute-api/a1b2c3/live"
EVENT = {
    "event_id": "01KASM0T3ZJ8W6Q1XN5V7D2B4C",
    "event_type": "user_action",
    "resource": "ai/sessions",
    "action": "ai.session.list",
    "metadata": {"outcome": "allowed"},
    "occurred_at": "2026-11-22T12:00:00.000001Z",
    "producer": "ai:07",
    "sequence": 1,
}


class Address:
    def __init__(self) -> None:
        self.url = URL
        self.missing = False
        self.forgotten = 0

    async def get(self):
        if self.missing:
            raise ParameterUnavailableError
        return self.url

    def forget(self):
        self.forgotten += 1


class World:
    """A sink behind an address; `answer` is its next answer or error."""

    def __init__(self) -> None:
        self.address = Address()
        self.answer: httpx.Response | Exception = httpx.Response(500)
        self.requests: list[httpx.Request] = []
        self.clients: list[str] = []
        self.sink = AuditSink(self.address, self._make)

    def _make(self, url: str) -> AuditClient:
        self.clients.append(url)
        return AuditClient(url, transport=httpx.MockTransport(self._handle))

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def results(self, *results: dict) -> None:
        body = {"message": "done", "event_count": len(results), "results": results}
        self.answer = httpx.Response(200, json=body)

    def problem(self, status: int, code: str) -> None:
        self.answer = httpx.Response(
            status,
            json=problem(status, code),
            headers={"content-type": "application/problem+json"},
        )


def problem(status: int, code: str) -> dict:
    return {"type": "about:blank", "title": "t", "status": status, "code": code}


@pytest.fixture
def world():
    return World()


async def test_events_are_posted_as_they_were_recorded(world):
    world.results({"index": 0, "status": 201, "event_id": EVENT["event_id"]})
    assert await world.sink.send([EVENT]) == [STORED]
    (request,) = world.requests
    assert (request.method, request.url.path.rsplit("/live", 1)[1]) == (
        "POST",
        "/api/v1/events/batch",
    )
    (sent,) = json.loads(request.content)["events"]
    assert sent == EVENT


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (201, None, STORED),
        (200, None, STORED),
        (409, "event_id_conflict", Verdict("refused", "event_id_conflict")),
        (409, "idempotency_in_progress", LATER),
        (413, "content_too_large", Verdict("refused", "content_too_large")),
        (422, None, Verdict("refused", "http_422")),
        (429, "throttled", LATER),
        (503, "store_unavailable", LATER),
    ],
)
async def test_each_event_has_its_verdict(world, status, code, verdict):
    error = {"error": problem(status, code)} if code else {}
    world.results({"index": 1, "status": status, **error}, {"index": 0, "status": 201})
    assert await world.sink.send([EVENT, EVENT]) == [STORED, verdict]


async def test_an_event_without_a_result_comes_again(world):
    world.results({"index": 0, "status": 201})
    assert await world.sink.send([EVENT, EVENT]) == [STORED, LATER]


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "access_denied"), (401, "x"), (404, "not_found"), (429, "throttled"), (503, "x")],
)
async def test_what_is_no_fault_of_the_events_may_pass_later(world, status, code):
    world.problem(status, code)
    with pytest.raises(SinkUnavailableError):
        await world.sink.send([EVENT])
    assert world.address.forgotten == 1


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")]
)
async def test_a_sink_that_does_not_answer_is_asked_for_anew(world, error):
    world.answer = error
    with pytest.raises(SinkUnavailableError):
        await world.sink.send([EVENT])
    assert world.address.forgotten == 1


async def test_an_answer_that_says_nothing_is_no_receipt(world):
    world.answer = httpx.Response(200, json={"unexpected": True})
    with pytest.raises(SinkUnavailableError):
        await world.sink.send([EVENT])


@pytest.mark.parametrize(("status", "code"), [(413, "body_too_large"), (422, "invalid_request")])
async def test_a_call_that_is_refused_as_a_whole_says_why(world, status, code):
    world.problem(status, code)
    with pytest.raises(SinkRefusedError) as refused:
        await world.sink.send([EVENT])
    assert refused.value.code == code


async def test_what_breaks_the_contract_is_not_sent(world):
    with pytest.raises(SinkRefusedError):
        await world.sink.send([EVENT, {**EVENT, "producer": "no/such/name"}])
    assert world.requests == []


async def test_without_an_address_nothing_is_sent(world):
    world.address.missing = True
    with pytest.raises(SinkUnavailableError):
        await world.sink.send([EVENT])
    assert world.requests == []


async def test_a_new_address_gets_a_new_client(world):
    world.results({"index": 0, "status": 201})
    await world.sink.send([EVENT])
    await world.sink.send([EVENT])
    assert world.clients == [URL]
    world.address.url = f"{URL}2"
    await world.sink.send([EVENT])
    assert world.clients == [URL, f"{URL}2"]


async def test_what_the_service_records_meets_the_sinks_contract(world):
    outbox = MemoryOutbox()
    operations = Operations(AuditTrail(outbox))
    await operations.allow(Action.LIST_SESSIONS, Subject.listing(SessionFilter(7, 3)))
    (event,) = outbox.events
    world.results({"index": 0, "status": 201})
    assert await world.sink.send([{**event, "producer": "ai:15", "sequence": 4}]) == [STORED]


def test_a_call_holds_what_the_sink_takes():
    from contracts.audit import v1

    assert MAX_EVENTS <= v1.MAX_BATCH_EVENTS
