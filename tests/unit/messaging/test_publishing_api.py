"""Publishing: what is accepted, what is refused, and what becomes of it when something fails."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from contracts.messaging.publishing import MAX_EVENT_BYTES
from contracts.messaging.registry import EVENT_TYPES
from functions.messaging.domain.envelopes import entry_bytes
from functions.messaging.domain.publishing import choose_event_id, source_of
from tests.fakes.messaging_events import ROLE, MessageService

pytestmark = pytest.mark.anyio

MOVED = EVENT_TYPES["card.moved"].example
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def service():
    return MessageService()


def event(**fields: Any) -> dict[str, Any]:
    return {"event_type": "card.moved", "payload": MOVED, **fields}


def problem(response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"]) == (status, code)
    return body


async def test_an_event_is_accepted_and_put_on_the_bus(service):
    response = await service.call(
        "POST",
        "/api/v1/events",
        event(id="e1", user_id=3, timestamp="2026-11-22T11:59:58Z", ordering_key="card:42"),
        traceparent=TRACE,
        X_Request_Id="r1",
    )
    assert response.status_code == 202, response.text
    assert response.json() == {"message_id": "e1", "correlation_id": "e1"}
    (sent,) = service.bus.taken
    assert sent.model_dump(mode="json") == {
        "specversion": "1.0",
        "id": "e1",
        "source": "santaclaude.projectflow",
        "type": "card.moved",
        "time": "2026-11-22T11:59:58Z",
        "datacontenttype": "application/json",
        "dataschema": "contracts/events/card.moved/v1.schema.json",
        "correlationid": "e1",
        "traceparent": sent.traceparent,
        "requestid": "r1",
        "userid": 3,
        "tenant": "project:7",
        "orderingkey": "card:42",
        "acceptedat": "2026-11-22T12:00:00.001000Z",
        "data": MOVED,
    }
    assert sent.traceparent.split("-")[1] == TRACE.split("-")[1]
    assert service.store.events["e1"].published_at is not None


async def test_ids_of_a_chain_are_kept(service):
    body = event(
        correlation_id="chain", causation_id="before", request_id="theirs", traceparent=TRACE
    )
    response = await service.call("POST", "/api/v1/events", body, X_Request_Id="ours")
    assert response.json()["correlation_id"] == "chain"
    (sent,) = service.bus.taken
    assert (sent.correlationid, sent.causationid) == ("chain", "before")
    assert (sent.requestid, sent.traceparent) == ("theirs", TRACE)


@pytest.mark.parametrize(
    ("payload", "user_id", "tenant"),
    [
        ({"project_id": 7, "user_id": 3}, 4, "project:7"),
        ({"user_id": 3}, 4, "user:4"),
        ({"user_id": 3}, None, "user:3"),
        ({"project_id": True, "user_id": "3"}, None, "none"),
    ],
)
async def test_whose_an_event_is(service, payload, user_id, tenant):
    body = {"event_type": "other.thing", "payload": payload, "user_id": user_id}
    assert (await service.call("POST", "/api/v1/events", body)).status_code == 202
    (sent,) = service.bus.taken
    assert (sent.tenant, sent.dataschema) == (tenant, None)


@pytest.mark.parametrize(
    ("role", "source"),
    [
        ("arn:aws:sts::1:assumed-role/santaclaude-prod-ai-dispatch", "santaclaude.ai"),
        ("arn:aws:sts::1:assumed-role/local-operator", "santaclaude.local-operator"),
        ("arn:aws:iam::1:user/jane", "santaclaude.jane"),
        (
            "arn:aws:sts::1:assumed-role/santaclaude-other-ai-x",
            "santaclaude.santaclaude-other-ai-x",
        ),
    ],
)
async def test_the_source_is_the_role(role, source):
    assert source_of(role) == source


async def test_the_same_event_again_gets_the_first_answer(service):
    first = await service.call("POST", "/api/v1/events", event(id="e1", correlation_id="c"))
    again = event(id="e1", correlation_id="c", retry_count=2)
    second = await service.call("POST", "/api/v1/events", again, X_Request_Id="another")
    assert (second.status_code, second.json()) == (202, first.json())
    assert service.bus.ids == ["e1"]


async def test_another_event_under_the_same_id_is_a_conflict(service):
    await service.call("POST", "/api/v1/events", event(id="e1"))
    other = event(id="e1", payload={**MOVED, "to_position": 3})
    problem(await service.call("POST", "/api/v1/events", other), 409, "event_id_conflict")
    assert service.bus.ids == ["e1"]


async def test_an_idempotency_key_stands_for_an_id(service):
    send = {"Idempotency_Key": "k1"}
    first = await service.call("POST", "/api/v1/events", event(), **send)
    again = await service.call("POST", "/api/v1/events", event(), **send)
    assert first.json() == again.json()
    assert UUID(first.json()["message_id"]).version == 5
    changed = event(user_id=3)
    problem(await service.call("POST", "/api/v1/events", changed, **send), 409, "event_id_conflict")
    other_role = ROLE.replace("projectflow", "browser")
    theirs = await service.call("POST", "/api/v1/events", changed, role=other_role, **send)
    assert theirs.status_code == 202
    assert choose_event_id("given", "k1", ROLE, 0) == "given"


async def test_without_either_each_is_an_event_of_its_own(service):
    for _ in range(2):
        assert (await service.call("POST", "/api/v1/events", event())).status_code == 202
    assert len(set(service.bus.ids)) == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (event(event_type="Card.Moved"), "event_type"),
        (event(event_type=""), "event_type"),
        ({"event_type": "card.moved"}, "payload"),
        (event(payload=[1]), "payload"),
        (event(id="a b"), "id"),
        (event(id="a#b"), "id"),
        (event(id="x" * 129), "id"),
        (event(user_id=0), "user_id"),
        (event(user_id=2**31), "user_id"),
        (event(user_id=True), "user_id"),
        (event(retry_count=-1), "retry_count"),
        (event(timestamp="yesterday"), "timestamp"),
        (event(correlation_id=""), "correlation_id"),
        (event(ordering_key="a b"), "ordering_key"),
        (event(traceparent="01-x"), "traceparent"),
    ],
)
async def test_what_breaks_the_contract_names_its_field(service, body, field):
    refused = await service.call("POST", "/api/v1/events", body)
    errors = problem(refused, 422, "invalid_request")["errors"]
    assert [error["field"] for error in errors] == [field]
    assert service.store.events == {}


async def test_a_payload_that_breaks_its_schema_names_each_field(service):
    payload = {**MOVED, "card_id": "42", "to_position": -1}
    del payload["moved_at"]
    refused = await service.call("POST", "/api/v1/events", event(payload=payload))
    errors = problem(refused, 422, "invalid_request")["errors"]
    assert {error["field"] for error in errors} == {
        "payload.card_id",
        "payload.to_position",
        "payload.moved_at",
    }
    assert service.store.events == {}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("9007199254740992", "payload.n"),
        ("NaN", "payload.n"),
        ("1e400", "payload.n"),
        ('"\\ud800"', "payload.n"),
        ('1, "n": 2', "payload.n"),
        ("[" * 40 + "]" * 40, None),
    ],
)
async def test_what_not_every_reader_would_read_alike_is_refused(service, value, field):
    content = f'{{"event_type": "t", "payload": {{"n": {value}}}}}'.encode()
    refused = await service.call("POST", "/api/v1/events", content=content)
    (error,) = problem(refused, 422, "invalid_request")["errors"]
    assert field is None or error["field"] == field


async def test_what_is_no_json(service):
    problem(await service.call("POST", "/api/v1/events", content=b"{"), 400, "malformed_json")
    as_text = await service.call("POST", "/api/v1/events", content=b"{}", content_type="text/plain")
    assert as_text.status_code == 415
    problem(await service.call("POST", "/api/v1/events", content=b"[]"), 422, "invalid_request")


async def test_an_event_has_at_most_240_kb_with_all_its_attributes(service):
    def of(size: int) -> dict[str, Any]:
        return {"event_type": "t", "id": "e1", "payload": {"text": "x" * size}}

    await service.call("POST", "/api/v1/events", of(0))
    (empty,) = service.bus.taken
    fits = MAX_EVENT_BYTES - entry_bytes(empty)
    for store in (service.store.events, service.bus.taken):
        store.clear()
    too_large = await service.call("POST", "/api/v1/events", of(fits + 1))
    problem(too_large, 413, "event_too_large")
    assert service.store.events == {}
    assert (await service.call("POST", "/api/v1/events", of(fits))).status_code == 202


async def test_bytes_are_counted_not_characters(service):
    body = {"event_type": "t", "payload": {"text": "ü" * (MAX_EVENT_BYTES // 2)}}
    content = json.dumps(body, ensure_ascii=False).encode()
    problem(await service.call("POST", "/api/v1/events", content=content), 413, "event_too_large")


async def test_only_roles_publish(service):
    response = await service.call("POST", "/api/v1/events", event(), role=None)
    problem(response, 401, "unauthenticated")
    response = await service.call("POST", "/api/v1/events/batch", {"events": []}, role=None)
    problem(response, 401, "unauthenticated")


# Faults.


async def test_without_the_store_nothing_is_accepted(service):
    service.store.failing = {"accept"}
    refused = await service.call("POST", "/api/v1/events", event(id="e1"))
    problem(refused, 503, "store_unavailable")
    assert refused.headers["retry-after"] == "1"
    assert service.bus.taken == []


async def test_without_the_bus_an_event_is_accepted_and_waits(service):
    service.bus.down = True
    response = await service.call("POST", "/api/v1/events", event(id="e1"))
    assert response.status_code == 202
    assert service.store.events["e1"].published_at is None


async def test_a_mark_that_fails_changes_no_answer(service):
    service.store.failing = {"mark_published"}
    response = await service.call("POST", "/api/v1/events", event(id="e1"))
    assert response.status_code == 202
    assert service.bus.ids == ["e1"]
    assert service.store.events["e1"].published_at is None


async def test_repeating_what_the_bus_did_not_get_puts_it_there(service):
    service.bus.down = True
    await service.call("POST", "/api/v1/events", event(id="e1"))
    service.bus.down = False
    assert (await service.call("POST", "/api/v1/events", event(id="e1"))).status_code == 202
    assert service.bus.ids == ["e1"]
    assert service.store.events["e1"].published_at is not None


async def test_a_fault_of_ours_is_told_without_its_text(service):
    async def accept(event):
        raise RuntimeError("secret")

    service.store.accept = accept
    refused = await service.call("POST", "/api/v1/events", event())
    assert "secret" not in refused.text
    problem(refused, 500, "internal_error")


# Batches.


async def batch(service, *events, **headers):
    response = await service.call("POST", "/api/v1/events/batch", {"events": events}, **headers)
    assert response.status_code == 202, response.text
    return response.json()


def statuses(result: dict[str, Any]) -> list[int]:
    assert [item["index"] for item in result["results"]] == list(range(len(result["results"])))
    return [item["status"] for item in result["results"]]


async def test_each_event_of_a_batch_has_its_result(service):
    await service.call("POST", "/api/v1/events", event(id="taken"))
    result = await batch(
        service,
        event(id="e0"),
        event(id="taken", user_id=3),
        event(payload={}),
        "nothing",
        {"event_type": "t", "payload": {"n": 2**53}},
        {"event_type": "t", "payload": {"text": "x" * MAX_EVENT_BYTES}},
        event(id="taken"),
    )
    assert statuses(result) == [202, 409, 422, 422, 422, 413, 202]
    assert (result["event_count"], result["message"]) == (2, "2 of 7 events accepted")
    assert result["results"][0] == {
        "index": 0,
        "status": 202,
        "message_id": "e0",
        "correlation_id": "e0",
    }
    assert result["results"][4]["error"]["errors"][0]["field"] == "payload.n"
    assert service.bus.ids == ["taken", "e0"]


async def test_of_two_with_one_id_the_second_is_a_repetition_or_a_conflict(service):
    result = await batch(
        service,
        event(id="e1"),
        event(id="e1"),
        event(id="e1", user_id=3),
        event(id="e1", ordering_key="k"),
    )
    assert statuses(result) == [202, 202, 409, 409]
    assert service.bus.ids == ["e1"]


async def test_after_a_refused_one_the_next_with_its_id_is_tried(service):
    result = await batch(service, event(id="e1", payload={}), event(id="e1"))
    assert statuses(result) == [422, 202]


async def test_events_of_one_key_are_numbered_in_their_order(service):
    await batch(service, *(event(id=f"e{n}", ordering_key=f"k{n % 2}") for n in range(20)))
    numbers = {e.event_id: e.ordering_sequence for e in service.store.events.values()}
    assert numbers == {f"e{n}": n // 2 + 1 for n in range(20)}


async def test_a_key_stands_for_the_ids_of_a_batch(service):
    first = await batch(service, event(), event(), Idempotency_Key="k")
    again = await batch(service, event(), event(), Idempotency_Key="k")
    assert first == again
    assert len({item["message_id"] for item in first["results"]}) == 2


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_has_1_to_100_events(service, count):
    events = [event() for _ in range(count)]
    refused = await service.call("POST", "/api/v1/events/batch", {"events": events})
    problem(refused, 422, "invalid_request")


async def test_what_the_store_refuses_of_a_batch_may_be_repeated(service):
    accept = service.store.accept

    async def throttled(one):
        if one.event_id == "e1":
            service.store.failing = {"accept"}
        try:
            return await accept(one)
        finally:
            service.store.failing = set()

    service.store.accept = throttled
    result = await batch(service, event(id="e0"), event(id="e1"), event(id="e2"))
    assert statuses(result) == [202, 503, 202]
    assert sorted(service.bus.ids) == ["e0", "e2"]


async def test_what_the_bus_refuses_of_a_batch_waits_alone(service):
    service.bus.refusing = {"e1"}
    assert statuses(await batch(service, event(id="e0"), event(id="e1"))) == [202, 202]
    waiting = {e.event_id for e in service.store.events.values() if e.published_at is None}
    assert waiting == {"e1"}


async def test_a_thousand_publishes_in_flight_are_accepted(service):
    responses = await asyncio.gather(
        *(service.call("POST", "/api/v1/events", event(id=f"e{n}")) for n in range(1000))
    )
    assert {response.status_code for response in responses} == {202}
    assert sorted(service.bus.ids) == sorted(f"e{n}" for n in range(1000))
