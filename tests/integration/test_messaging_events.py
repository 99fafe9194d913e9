"""Events in DynamoDB and on EventBridge's side of the wire, against moto."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.session import get_session

from functions.messaging.adapters import dynamodb_events, eventbridge
from functions.messaging.adapters.dynamodb_events import DynamoEvents
from functions.messaging.adapters.dynamodb_life import DynamoLife
from functions.messaging.adapters.event_items import event_key, keylog_pk, sequence_sk
from functions.messaging.adapters.eventbridge import EventBridgeBus
from functions.messaging.domain.events import Event
from functions.messaging.domain.life import Moment
from functions.messaging.domain.sweeping import Pace, Sweeper
from servicekit.errors import StoreUnavailableError
from servicekit.paging import InvalidCursorError
from tests.fakes.messaging_events import MemoryEvents, MemoryMetrics, MessageService

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = AT + timedelta(hours=1)


@pytest.fixture(params=["memory", "dynamodb"])
def store(request):
    """The same tests hold for the fake and for the real adapter."""
    if request.param == "memory":
        return MemoryEvents()
    return DynamoEvents(request.getfixturevalue("table"), 30)


@pytest.fixture
def dynamo(table):
    return DynamoEvents(table, 30)


def event(event_id="e1", seconds=0, **fields) -> Event:
    at = AT + timedelta(seconds=seconds)
    return Event(
        **{
            "event_id": event_id,
            "event_type": "card.moved",
            "payload": '{"card_id":42,"text":"Grüße"}',
            "source": "santaclaude.projectflow",
            "tenant": "project:7",
            "correlation_id": "c",
            "occurred_at": at - timedelta(seconds=5),
            "accepted_at": at,
            "fingerprint": "f",
            **fields,
        }
    )


FULL = event(
    causation_id="e0",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    request_id="r1",
    user_id=3,
    retry_count=2,
)


@pytest.mark.parametrize("sent", [event(), FULL], ids=["least", "full"])
async def test_what_is_accepted_is_read_again(store, sent):
    assert await store.accept(sent) is None
    assert await store.get("e1") == sent
    assert await store.get("other") is None


async def test_an_id_is_accepted_once(store):
    await store.accept(event())
    assert await store.accept(event(fingerprint="other", user_id=9)) == event()
    assert await store.get("e1") == event()


async def test_of_many_at_once_one_is_accepted(store):
    answers = await asyncio.gather(*(store.accept(event(fingerprint=str(n))) for n in range(20)))
    assert answers.count(None) == 1
    stored = await store.get("e1")
    assert all(answer in (None, stored) for answer in answers)


async def test_what_was_published_waits_no_more(store):
    for n in range(3):
        await store.accept(event(f"e{n}", seconds=n))
    await store.mark_published(["e0", "e2"], LATER)
    assert [one.event_id for one in await store.unpublished(LATER, 10)] == ["e1"]
    published = await store.get("e0")
    assert published == replace(event("e0"), published_at=LATER)
    await store.mark_published(["e0"], LATER + timedelta(seconds=1))
    assert await store.get("e0") == published


async def test_what_waits_is_found_oldest_first(store):
    for n in (5, 3, 9, 1, 7, 8, 2, 6, 4, 0):
        await store.accept(event(f"e{n}", seconds=n))
    found = await store.unpublished(AT + timedelta(seconds=8), 5)
    assert [one.event_id for one in found] == ["e0", "e1", "e2", "e3", "e4"]
    assert len(await store.unpublished(AT + timedelta(seconds=8), 100)) == 8


async def test_a_chain_is_read_in_the_order_of_acceptance(store):
    for n in (2, 0, 4, 1, 3):
        await store.accept(event(f"e{n}", seconds=n))
    await store.accept(event("other", correlation_id="another"))
    found, cursor = [], None
    while True:
        page = await store.chain("c", 2, cursor)
        found += [one.event_id for one in page.events]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == ["e0", "e1", "e2", "e3", "e4"]
    page = await store.chain("c", 2, None)
    with pytest.raises(InvalidCursorError):
        await store.chain("another", 2, page.next_cursor)


async def test_a_large_event_is_stored_and_read(dynamo):
    large = event(payload=json.dumps({"text": "x" * 240_000}))
    assert await dynamo.accept(large) is None
    assert await dynamo.get("e1") == large


# Order.


async def log_of(table, key):
    page = await table.query("pk = :pk", {":pk": keylog_pk(key)})
    head = [item for item in page.items if item["sk"] == "HEAD"]
    entries = [item for item in page.items if item["sk"] != "HEAD"]
    return (head[0]["last"] if head else 0), entries


async def test_events_of_a_key_are_numbered(dynamo, table):
    for n in range(3):
        assert await dynamo.accept(event(f"e{n}", seconds=n, ordering_key="k")) is None
    last, entries = await log_of(table, "k")
    assert last == 3
    assert [(one["sk"], one["event_id"], one["event_type"]) for one in entries] == [
        (sequence_sk(n + 1), f"e{n}", "card.moved") for n in range(3)
    ]
    assert (await dynamo.get("e2")).ordering_sequence == 3


async def test_a_repetition_draws_no_number(dynamo, table):
    first = event(ordering_key="k")
    await dynamo.accept(first)
    again = await dynamo.accept(replace(first, fingerprint="other"))
    assert again == replace(first, ordering_sequence=1)
    assert (await log_of(table, "k"))[0] == 1


async def test_rivals_for_a_key_get_numbers_without_gaps(dynamo, table, monkeypatch):
    monkeypatch.setattr(dynamodb_events, "_FIRST_PAUSE_SECONDS", 0.001)
    answers = await asyncio.gather(
        *(dynamo.accept(event(f"e{n}", ordering_key="k")) for n in range(12))
    )
    assert answers == [None] * 12
    last, entries = await log_of(table, "k")
    assert last == 12
    assert [one["sk"] for one in entries] == [sequence_sk(n) for n in range(1, 13)]
    assert {one["event_id"] for one in entries} == {f"e{n}" for n in range(12)}


async def test_a_key_that_is_never_free_is_unavailable(dynamo, table, monkeypatch):
    monkeypatch.setattr(dynamodb_events, "_FIRST_PAUSE_SECONDS", 0)
    monkeypatch.setattr(dynamodb_events, "_last", lambda _: 7)
    with pytest.raises(StoreUnavailableError):
        await dynamo.accept(event(ordering_key="k"))
    assert await dynamo.get("e1") is None
    assert (await log_of(table, "k")) == (0, [])


async def test_a_head_outlives_its_entries(dynamo, table):
    await dynamo.accept(event(ordering_key="k"))
    page = await table.query("pk = :pk", {":pk": keylog_pk("k")})
    entry, head = sorted(page.items, key=lambda item: str(item["sk"]))
    stored = await table.get(event_key("e1"))
    assert entry["expires_at"] == stored["expires_at"] < head["expires_at"]


# Crashes, with the real adapters.


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def world(dynamo, table, make_client, monkeypatch):
    monkeypatch.setattr(eventbridge, "_FIRST_PAUSE_SECONDS", 0)
    service = MessageService()
    service.store = dynamo
    service.life = DynamoLife(table, service.clock, 30)
    events = get_session().create_client("events")
    events.create_event_bus(Name="santaclaude-local")
    service.put = []

    class Bus:
        """EventBridge as moto has it, and the ids that it took."""

        throttled = 0

        def put_events(self, *, Entries):  # noqa: N803
            answer = events.put_events(Entries=Entries)
            for position, entry in enumerate(Entries):
                if self.throttled:
                    self.throttled -= 1
                    answer["Entries"][position] = {"ErrorCode": "ThrottlingException"}
                else:
                    service.put.append(json.loads(entry["Detail"])["id"])
            return answer

        def close(self):
            pass

    service.client = Bus()
    service.bus = EventBridgeBus("santaclaude-local", lambda: service.client)
    service.assemble()
    yield service
    service.bus.close()


def sweeper(world):
    return Sweeper(
        world.store,
        world.bus,
        world.schemas,
        MemoryMetrics(),
        Pace(timedelta(seconds=60), 10_000),
        world.clock,
    )


def body(event_id):
    return {"id": event_id, "event_type": "t", "payload": {"n": 1}}


async def test_published_through_the_adapters(world):
    response = await world.call("POST", "/api/v1/events", body("e1"))
    assert response.status_code == 202
    assert world.put == ["e1"]
    at = world.clock()
    moment = Moment(key="a", kind="attempted", at=at, consumer="default-events")
    await world.life.append({"e1": [moment]})
    life = (await world.call("GET", "/api/v1/events/e1")).json()
    assert [one["kind"] for one in life["moments"]] == [
        "accepted",
        "published",
        "routed",
        "attempted",
    ]


async def test_killed_between_accept_and_put(world, monkeypatch):
    async def die(_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(world.bus, "put", die)
        with pytest.raises(Killed):
            await world.call("POST", "/api/v1/events", body("e1"))
    assert world.put == []
    assert (await world.call("GET", "/api/v1/events/e1")).json()["state"] == "accepted"
    world.clock.pass_seconds(61)
    assert await sweeper(world).sweep(40) == 1
    assert world.put == ["e1"]
    assert (await world.call("GET", "/api/v1/events/e1")).json()["state"] == "published"


async def test_killed_between_put_and_mark(world, monkeypatch):
    async def die(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(world.store, "mark_published", die)
        with pytest.raises(Killed):
            await world.call("POST", "/api/v1/events", body("e1"))
    world.clock.pass_seconds(61)
    await sweeper(world).sweep(40)
    # Twice on the bus, under one id: consumers claim it once.
    assert world.put == ["e1", "e1"]
    await sweeper(world).sweep(40)
    assert world.put == ["e1", "e1"]


async def test_throttled_entries_are_put_again(world):
    world.client.throttled = 7
    events = [body(f"e{n}") for n in range(25)]
    response = await world.call("POST", "/api/v1/events/batch", {"events": events})
    assert response.json()["event_count"] == 25
    assert sorted(world.put) == sorted(f"e{n}" for n in range(25))
    world.clock.pass_seconds(61)
    assert await sweeper(world).sweep(40) == 0


async def test_a_thousand_in_flight_are_accepted(world):
    responses = await asyncio.gather(
        *(world.call("POST", "/api/v1/events", body(f"e{n}")) for n in range(1000))
    )
    assert {response.status_code for response in responses} == {202}
    assert sorted(world.put) == sorted(f"e{n}" for n in range(1000))
