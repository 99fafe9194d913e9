"""Events of jobs on their way to the message service, and what its answers mean."""

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest

from contracts.ai.events import AIJobQueued, AIJobUpdated
from contracts.messaging.client import MessageClient
from contracts.messaging.publishing import EventBatch
from functions.ai.adapters.message_service import MessageServiceJobEvents
from functions.ai.domain.errors import EventsUnavailableError
from functions.ai.domain.inference import Usage
from functions.ai.domain.job_ports import JobChange
from functions.ai.domain.turns import Failure, Job, Turn
from functions.messaging.adapters.schemas import EventSchemas
from servicekit.parameters import ParameterUnavailableError

pytestmark = pytest.mark.anyio

URL = "http://127.0.0.1:4566/_aws/execute-api/a1b2c3/live"
NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
QUEUED = Turn(
    "t1", "s1", 5, 7, 3, "bedrock", "m", 1, "queued", NOW, NOW, job=Job("normal", "r-1", TRACE)
)
TOLD = JobChange(None, QUEUED)


def changes(count: int) -> list[JobChange]:
    return [JobChange(None, replace(QUEUED, turn_id=f"t{n}")) for n in range(count)]


def problem(status: int, code: str) -> dict:
    return {"type": "about:blank", "title": "t", "status": status, "code": code}


class World:
    """A message service behind an address. It accepts all but the ids in `refused`; a call with
    one of the ids in `poison` it refuses as a whole; `failure` is what every call meets.
    """

    def __init__(self) -> None:
        self.url = URL
        self.forgotten = 0
        self.missing = False
        self.refused: dict[str, tuple[int, str]] = {}
        self.poison: set[str] = set()
        self.failure: httpx.Response | Exception | None = None
        self.requests: list[httpx.Request] = []
        self.accepted: list[dict] = []
        self.clients: list[str] = []
        self.events = MessageServiceJobEvents(self, self._make)

    async def get(self) -> str:
        if self.missing:
            raise ParameterUnavailableError
        return self.url

    def forget(self) -> None:
        self.forgotten += 1

    def problem(self, status: int, code: str) -> None:
        self.failure = self._problem(status, code)

    @staticmethod
    def _problem(status: int, code: str) -> httpx.Response:
        headers = {"content-type": "application/problem+json"}
        return httpx.Response(status, json=problem(status, code), headers=headers)

    def _make(self, url: str) -> MessageClient:
        self.clients.append(url)
        return MessageClient(url, transport=httpx.MockTransport(self._handle))

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.failure, Exception):
            raise self.failure
        if self.failure is not None:
            return self.failure
        events = EventBatch.model_validate_json(request.content).model_dump(
            mode="json", exclude_unset=True
        )["events"]
        if self.poison & {event["id"] for event in events}:
            return self._problem(413, "body_too_large")
        results = []
        for index, event in enumerate(events):
            if event["id"] in self.refused:
                status, code = self.refused[event["id"]]
                results.append({"index": index, "status": status, "error": problem(status, code)})
            else:
                self.accepted.append(event)
                results.append({"index": index, "status": 202, "message_id": event["id"]})
        body = {"message": "done", "event_count": len(results), "results": results}
        return httpx.Response(202, json=body)


@pytest.fixture
def world():
    return World()


async def test_listeners_are_told_ids_and_usage(world):
    completed = replace(
        QUEUED, status="completed", message_id=9, usage=Usage(10, 40), cost="0.1", stop="end"
    )
    failed = replace(QUEUED, status="failed", attempt=2, failure=Failure("c", "t", 503))
    await world.events.publish(
        [TOLD, JobChange("running", completed), JobChange("running", failed)]
    )
    assert [request.url.path for request in world.requests] == [
        "/_aws/execute-api/a1b2c3/live/api/v1/events/batch"
    ]
    queued, done, over = world.accepted
    assert {name: value for name, value in queued.items() if name != "payload"} == {
        "id": "t1-1-queued",
        "event_type": "ai.job.queued",
        "correlation_id": "t1",
        "ordering_key": "t1",
        "user_id": 3,
        "request_id": "r-1",
        "traceparent": TRACE,
        "timestamp": "2026-11-22T12:00:00.123456Z",
    }
    told = AIJobQueued.model_validate(queued["payload"])
    assert (told.event_id, told.priority, told.project_id) == ("t1-1-queued", "normal", 7)
    assert (done["id"], done["causation_id"]) == ("t1-1-completed", "t1-1-queued")
    updated = AIJobUpdated.model_validate(done["payload"])
    assert (updated.status, updated.progress, updated.error) == ("completed", 1.0, None)
    assert updated.result is not None
    assert (updated.result["message_id"], updated.result["usage"]["output"]) == (9, 40)
    assert (over["id"], over["payload"]["error"]) == ("t1-2-failed", "c")
    for event in world.accepted:
        EventSchemas().check(event["event_type"], event["payload"])


async def test_told_twice_it_is_the_same_event(world):
    await world.events.publish([TOLD])
    await world.events.publish([TOLD])
    first, second = world.accepted
    assert first == second


async def test_a_call_holds_a_hundred_events(world):
    await world.events.publish(changes(230))
    sizes = [len(json.loads(request.content)["events"]) for request in world.requests]
    assert sizes == [100, 100, 30]
    assert [event["id"] for event in world.accepted] == [f"t{n}-1-queued" for n in range(230)]


@pytest.mark.parametrize("status", [400, 409, 413, 422])
async def test_what_is_refused_for_good_is_logged_and_left(world, caplog, status):
    world.refused = {"t1-1-queued": (status, "some_code")}
    with caplog.at_level(logging.ERROR):
        await world.events.publish(changes(3))
    assert [event["id"] for event in world.accepted] == ["t0-1-queued", "t2-1-queued"]
    (line,) = caplog.records
    assert (line.event_id, line.refusal) == ("t1-1-queued", "some_code")


@pytest.mark.parametrize(("status", "code"), [(429, "throttled"), (503, "store_unavailable")])
async def test_what_may_pass_later_comes_again(world, status, code):
    world.refused = {"t1-1-queued": (status, code)}
    with pytest.raises(EventsUnavailableError):
        await world.events.publish(changes(3))


async def test_the_event_for_which_a_call_is_refused_is_found(world, caplog):
    world.poison = {"t5-1-queued"}
    with caplog.at_level(logging.ERROR):
        await world.events.publish(changes(9))
    ids = [event["id"] for event in world.accepted]
    assert ids == [f"t{n}-1-queued" for n in range(9) if n != 5]
    assert [line.event_id for line in caplog.records] == ["t5-1-queued"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthenticated"),
        (403, "access_denied"),
        (404, "not_found"),
        (429, "throttled"),
        (500, "internal_error"),
        (503, "store_unavailable"),
    ],
)
async def test_what_is_no_fault_of_the_events_may_pass_later(world, status, code):
    world.problem(status, code)
    with pytest.raises(EventsUnavailableError):
        await world.events.publish([TOLD])
    assert world.forgotten == 1


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")]
)
async def test_a_service_that_does_not_answer_is_asked_for_anew(world, error):
    world.failure = error
    with pytest.raises(EventsUnavailableError):
        await world.events.publish([TOLD])
    assert world.forgotten == 1


async def test_an_answer_that_says_nothing_is_no_receipt(world):
    world.failure = httpx.Response(202, json={"message": "m", "event_count": 0, "results": []})
    with pytest.raises(EventsUnavailableError):
        await world.events.publish([TOLD])


async def test_without_an_address_nothing_is_sent(world):
    world.missing = True
    with pytest.raises(EventsUnavailableError):
        await world.events.publish([TOLD])
    assert world.requests == []


async def test_a_new_address_gets_a_new_client(world):
    await world.events.publish([TOLD])
    await world.events.publish([TOLD])
    assert world.clients == [URL]
    world.url = f"{URL}2"
    await world.events.publish([TOLD])
    assert world.clients == [URL, f"{URL}2"]


async def test_what_breaks_the_contract_is_logged_and_left(world, caplog):
    odd = JobChange(None, replace(QUEUED, turn_id="no id"))
    with caplog.at_level(logging.ERROR):
        await world.events.publish([odd, TOLD])
    assert [event["id"] for event in world.accepted] == ["t1-1-queued"]
    assert [line.event_id for line in caplog.records] == ["no id-1-queued"]
