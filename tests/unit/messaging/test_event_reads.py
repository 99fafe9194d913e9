"""An event's life, its chain, and the types there are."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from contracts.messaging.registry import EVENT_TYPES
from contracts.messaging.streams import ROUTED_TYPES, stream_of
from functions.messaging.domain.event_life import state_of
from functions.messaging.domain.events import Event
from functions.messaging.domain.life import Moment
from tests.fakes.messaging_events import MessageService

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
PUBLISHED = Event(
    event_id="e1",
    event_type="card.moved",
    payload="{}",
    source="santaclaude.ai",
    tenant="none",
    correlation_id="c",
    occurred_at=AT,
    accepted_at=AT,
    fingerprint="f",
    published_at=AT,
)


@pytest.fixture
def service():
    return MessageService()


def moment(kind, consumer="kanban-events", seconds=0, **fields):
    at = AT + timedelta(seconds=seconds)
    return Moment(key=f"{kind}-{consumer}-{seconds}", kind=kind, at=at, consumer=consumer, **fields)


GOOD = {"details": {"outcome": "succeeded"}}
BAD = {"details": {"outcome": "failed", "error": "timeout"}}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ([], "published"),
        ([moment("attempted", **GOOD)], "delivered"),
        ([moment("attempted", **BAD)], "failing"),
        ([moment("attempted", details={"error": "timeout"})], "failing"),
        ([moment("attempted", **BAD), moment("attempted", seconds=1, **GOOD)], "delivered"),
        ([moment("attempted", **BAD), moment("dead", seconds=1)], "dead"),
        ([moment("dead"), moment("redriven", seconds=1)], "published"),
        (
            [moment("dead"), moment("redriven", seconds=1), moment("attempted", seconds=2, **GOOD)],
            "delivered",
        ),
        (
            [moment("attempted", **GOOD), moment("webhook_attempted", "subscription:1", **BAD)],
            "failing",
        ),
        ([moment("attempted", **GOOD), moment("dead", "subscription:1")], "dead"),
        ([moment("attempted", **GOOD), moment("replayed", seconds=1)], "delivered"),
    ],
)
async def test_the_state_is_that_of_the_consumer_in_most_need(told, state):
    assert state_of(PUBLISHED, told) == state
    if not told:
        assert state_of(replace(PUBLISHED, published_at=None), told) == "accepted"


async def publish(service, event_id, **fields):
    body = {
        "id": event_id,
        "event_type": "card.moved",
        "payload": EVENT_TYPES["card.moved"].example,
        **fields,
    }
    assert (await service.call("POST", "/api/v1/events", body)).status_code == 202


async def test_the_life_of_an_event(service):
    await publish(service, "e1", user_id=3, causation_id="e0")
    at = service.clock() + timedelta(seconds=1)
    tried = Moment(
        key="a", kind="attempted", at=at, consumer="kanban-events", attempt=1, details={"n": 1}
    )
    await service.life.append({"e1": [tried]})
    response = await service.call("GET", "/api/v1/events/e1")
    assert response.status_code == 200, response.text
    life = response.json()
    assert (life["id"], life["stream"], life["tenant"]) == ("e1", "kanban-events", "project:7")
    assert (life["user_id"], life["causation_id"], life["state"]) == (3, "e0", "delivered")
    assert life["payload"] == EVENT_TYPES["card.moved"].example
    told = [(one["kind"], one.get("consumer")) for one in life["moments"]]
    assert told == [
        ("accepted", None),
        ("published", None),
        ("routed", "kanban-events"),
        ("attempted", "kanban-events"),
    ]
    assert life["moments"][3]["details"] == {"n": 1}
    times = [one["at"] for one in life["moments"]]
    assert times == sorted(times)


async def test_the_life_of_one_that_waits(service):
    service.bus.down = True
    await publish(service, "e1")
    life = (await service.call("GET", "/api/v1/events/e1")).json()
    assert life["state"] == "accepted"
    assert [one["kind"] for one in life["moments"]] == ["accepted"]
    assert "published_at" not in life


async def test_what_a_slow_clock_tells_comes_after_the_acceptance(service):
    await publish(service, "e1")
    early = replace(moment("attempted", **GOOD), at=datetime(2020, 1, 1, tzinfo=UTC))
    await service.life.append({"e1": [early]})
    life = (await service.call("GET", "/api/v1/events/e1")).json()
    assert life["moments"][0]["kind"] == "accepted"


async def test_an_event_that_nobody_published(service):
    response = await service.call("GET", "/api/v1/events/nothing")
    assert (response.status_code, response.json()["code"]) == (404, "event_not_found")
    assert (await service.call("GET", "/api/v1/events/a%20b")).status_code == 422


async def test_a_chain_is_read_in_pages(service):
    await publish(service, "e0", correlation_id="c")
    for n in range(1, 5):
        await publish(service, f"e{n}", correlation_id="c", causation_id=f"e{n - 1}")
    await publish(service, "other")
    found, cursor = [], ""
    while True:
        page = (
            await service.call("GET", f"/api/v1/events?correlation_id=c&limit=2{cursor}")
        ).json()
        found += page["events"]
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [one["id"] for one in found] == [f"e{n}" for n in range(5)]
    assert [one.get("causation_id") for one in found] == [None, "e0", "e1", "e2", "e3"]
    assert all("payload" not in one for one in found)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 422),
        ("?correlation_id=", 422),
        ("?correlation_id=c&limit=0", 422),
        ("?correlation_id=c&limit=101", 422),
        ("?correlation_id=c&cursor=mine", 400),
    ],
)
async def test_a_chain_is_asked_for_properly(service, query, status):
    assert (await service.call("GET", f"/api/v1/events{query}")).status_code == status


async def test_a_chain_that_nobody_began_is_empty(service):
    page = (await service.call("GET", "/api/v1/events?correlation_id=nothing")).json()
    assert page == {"events": [], "has_more": False, "next_cursor": None}


async def test_every_type_is_listed(service):
    told = (await service.call("GET", "/api/v1/event-types")).json()["event_types"]
    assert {one["event_type"] for one in told} == EVENT_TYPES.keys() >= set(ROUTED_TYPES)
    for one in told:
        assert one["stream"] == stream_of(one["event_type"])
        assert one["description"]
        assert one["payload_schema"] == EVENT_TYPES[one["event_type"]].schema()
    assert stream_of("webhook.subscription.disabled") == "default-events"


async def test_without_the_store_reads_say_so(service):
    service.store.failing = {"get", "chain"}
    assert (await service.call("GET", "/api/v1/events/e1")).status_code == 503
    assert (await service.call("GET", "/api/v1/events?correlation_id=c")).status_code == 503


async def test_only_roles_read(service):
    for path in ("events/e1", "events?correlation_id=c", "event-types"):
        response = await service.call("GET", f"/api/v1/{path}", role=None)
        assert response.status_code == 401
