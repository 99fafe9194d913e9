"""The message service's client: over the service's own apps, and over answers that go wrong."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from contracts.client.errors import (
    ConflictError,
    InvalidAnswerError,
    NotAllowedError,
    NotFoundError,
    RequestRefusedError,
    ServiceFailedError,
    ServiceTimeoutError,
)
from contracts.client.signing import SigV4
from contracts.client.transport import CallOptions
from contracts.messaging.client import MessageClient
from contracts.messaging.publishing import EventCreate
from contracts.messaging.registry import EVENT_TYPES
from contracts.projectflow.events import CardMoved, UserDeleted
from tests.fakes.messaging_events import MessageService

pytestmark = pytest.mark.anyio

DELETED = UserDeleted(user_id=3, deleted_at=datetime(2026, 1, 5, 9, 30, tzinfo=UTC))
MOVED = CardMoved.model_validate(EVENT_TYPES["card.moved"].example)


class Service:
    """The service's apps behind a client's transport."""

    def __init__(self) -> None:
        self.service = MessageService()
        self.requests: list[httpx.Request] = []
        self.client = MessageClient("http://messaging", transport=httpx.MockTransport(self._handle))

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        content = request.content or None
        kept = ("content-type", "x-request-id", "idempotency-key", "traceparent")
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        answer = await self.service.call(
            request.method, request.url.raw_path.decode(), content=content, **headers
        )
        return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)


@pytest.fixture
def world():
    return Service()


def answering(answer: httpx.Response | Exception) -> MessageClient:
    def handle(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return MessageClient("http://messaging", transport=httpx.MockTransport(handle))


def problem(status: int, code: str) -> httpx.Response:
    body = {"type": "about:blank", "title": "t", "status": status, "code": code}
    headers = {"content-type": "application/problem+json"}
    return httpx.Response(status, json=body, headers=headers)


async def test_a_typed_payload_is_published_under_its_type(world):
    accepted = await world.client.publish(DELETED)
    (sent,) = world.service.bus.taken
    assert (sent.id, sent.type, sent.tenant) == (accepted.message_id, "user.deleted", "user:3")
    assert sent.data == {
        "user_id": 3,
        "deleted_by": None,
        "deleted_at": "2026-01-05T09:30:00Z",
    }


async def test_a_payload_is_given_attributes(world):
    event = EventCreate.of(
        MOVED,
        event_id="e1",
        correlation_id="c",
        causation_id="e0",
        user_id=3,
        ordering_key="card:42",
        timestamp=datetime(2026, 1, 5, 9, 30, tzinfo=UTC),
    )
    accepted = await world.client.publish(event, options=CallOptions(request_id="r1"))
    assert (accepted.message_id, accepted.correlation_id) == ("e1", "c")
    (sent,) = world.service.bus.taken
    assert (sent.causationid, sent.userid, sent.orderingkey) == ("e0", 3, "card:42")
    assert sent.requestid == "r1"
    assert json.loads(world.requests[0].content).keys() == {
        "event_type",
        "payload",
        "id",
        "correlation_id",
        "causation_id",
        "user_id",
        "ordering_key",
        "timestamp",
    }


async def test_a_type_without_a_schema(world):
    event = EventCreate(event_type="report.made", payload={"n": 1})
    await world.client.publish(event, options=CallOptions(idempotency_key="k"))
    again = await world.client.publish(event, options=CallOptions(idempotency_key="k"))
    assert world.service.bus.ids == [again.message_id]


async def test_a_batch_tells_of_each(world):
    bad = EventCreate(event_type="card.moved", payload={})
    result = await world.client.publish_batch([MOVED, bad, DELETED])
    assert [item.status for item in result.results] == [202, 422, 202]
    assert result.event_count == 2
    assert result.results[1].error is not None
    assert result.results[1].error.code == "invalid_request"


async def test_events_are_read_again(world):
    for n in range(3):
        await world.client.publish(EventCreate.of(MOVED, event_id=f"e{n}", correlation_id="c"))
    life = await world.client.get_event("e1")
    assert life is not None
    assert (life.state, life.payload["card_id"]) == ("published", 42)
    assert [moment.kind for moment in life.moments] == ["accepted", "published", "routed"]
    page = await world.client.find_events("c", limit=2)
    rest = await world.client.find_events("c", cursor=page.next_cursor)
    assert [event.id for event in (*page.events, *rest.events)] == ["e0", "e1", "e2"]
    types = await world.client.event_types()
    assert {one.event_type for one in types.event_types} == EVENT_TYPES.keys()


async def test_what_is_not_there(world):
    assert await world.client.get_event("nothing") is None
    # A base URL that leads elsewhere is no missing event.
    with pytest.raises(NotFoundError):
        await answering(problem(404, "not_found")).get_event("e1")


async def test_a_conflict(world):
    await world.client.publish(EventCreate.of(MOVED, event_id="e1"))
    with pytest.raises(ConflictError) as raised:
        await world.client.publish(EventCreate.of(DELETED, event_id="e1"))
    assert raised.value.code == "event_id_conflict"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(403, "access_denied"), NotAllowedError),
        (problem(413, "event_too_large"), RequestRefusedError),
        (problem(503, "store_unavailable"), ServiceFailedError),
        (httpx.Response(202, json={"unexpected": True}), InvalidAnswerError),
        (httpx.ReadTimeout("x"), ServiceTimeoutError),
    ],
)
async def test_errors_have_a_type(answer: Any, error):
    with pytest.raises(error):
        await answering(answer).publish(MOVED)


async def test_it_is_made_from_the_environment():
    client = MessageClient.from_environment({"MESSAGING_SERVICE_URL": "http://127.0.0.1:8004"})
    async with client:
        pass
    with pytest.raises(KeyError, match="MESSAGING_SERVICE_URL"):
        MessageClient.from_environment({"AWS_REGION": "us-east-1"}, sign=True)
    signed = MessageClient.from_environment(
        {"MESSAGING_SERVICE_URL": "http://m", "AWS_REGION": "us-east-1"}, sign=True
    )
    assert isinstance(signed._calls._http.auth, SigV4)
    await signed.aclose()
