"""Events through the front door, onto the bus, and read again; and who may publish."""

import asyncio
import json
import time
from uuid import uuid4

import httpx
import pytest

from contracts.ai.events import AIJobQueued
from contracts.messaging.client import MessageClient
from contracts.messaging.publishing import EventCreate
from contracts.messaging.registry import EVENT_TYPES
from tests.e2e.conftest import ACCOUNT, eventually, problem

MOVED = EVENT_TYPES["card.moved"].example


def event(**fields) -> dict:
    return {"event_type": "card.moved", "payload": MOVED, **fields}


@pytest.fixture
def ids():
    """Ids of this test alone."""
    beginning = uuid4().hex

    def make(number: int = 0) -> str:
        return f"{beginning}-{number}"

    return make


def test_an_event_is_published_read_and_delivered(messaging, bus_listener, ids):
    heard = bus_listener({"detail-type": ["card.moved"], "detail": {"id": [ids()]}})
    sent = event(id=ids(), user_id=3, correlation_id=ids(9), ordering_key=f"card-{ids()}")
    headers = {"X-Request-Id": f"r-{ids()}"}
    response = messaging.post("/api/v1/events", json=sent, headers=headers)
    assert response.status_code == 202, response.text
    assert response.json() == {"message_id": ids(), "correlation_id": ids(9)}

    (delivered,) = eventually(heard)
    assert (delivered["source"], delivered["detail-type"]) == (
        "santaclaude.local-operator",
        "card.moved",
    )
    detail = delivered["detail"]
    assert (detail["specversion"], detail["id"], detail["data"]) == ("1.0", ids(), MOVED)
    assert (detail["correlationid"], detail["userid"]) == (ids(9), 3)
    assert (detail["tenant"], detail["requestid"]) == ("project:7", f"r-{ids()}")

    life = messaging.get(f"/api/v1/events/{ids()}").json()
    assert life["stream"] == "kanban-events"
    assert life["payload"] == MOVED
    assert [one["kind"] for one in life["moments"]][:3] == ["accepted", "published", "routed"]

    again = messaging.post("/api/v1/events", json=sent, headers=headers)
    assert (again.status_code, again.json()) == (202, response.json())
    other = messaging.post("/api/v1/events", json={**sent, "user_id": 4})
    problem(other, 409, "event_id_conflict")
    assert len(heard()) == 1


def test_a_batch_and_its_chain(messaging, bus_listener, ids):
    heard = bus_listener({"detail": {"correlationid": [ids()]}})
    events = [event(id=ids(n), correlation_id=ids(), ordering_key=ids()) for n in range(12)]
    events.insert(5, event(payload={"card_id": "x"}))
    response = messaging.post("/api/v1/events/batch", json={"events": events})
    assert response.status_code == 202, response.text
    result = response.json()
    assert [item["status"] for item in result["results"]] == [202] * 5 + [422] + [202] * 7
    fields = {error["field"] for error in result["results"][5]["error"]["errors"]}
    assert "payload.card_id" in fields

    page = messaging.get("/api/v1/events", params={"correlation_id": ids(), "limit": 7}).json()
    rest = messaging.get(
        "/api/v1/events", params={"correlation_id": ids(), "cursor": page["next_cursor"]}
    ).json()
    assert [one["id"] for one in (*page["events"], *rest["events"])] == [ids(n) for n in range(12)]
    delivered = eventually(lambda: heard() if len(heard()) >= 12 else None)
    assert {one["detail"]["id"] for one in delivered} == {ids(n) for n in range(12)}


def test_what_is_refused(messaging):
    problem(messaging.post("/api/v1/events", json=event(payload={})), 422, "invalid_request")
    too_large = {"event_type": "t", "payload": {"text": "x" * 240 * 1024}}
    problem(messaging.post("/api/v1/events", json=too_large), 413, "event_too_large")
    problem(messaging.get("/api/v1/events/nothing"), 404, "event_not_found")
    assert messaging.get("/api/v1/events").status_code in {400, 422}


def test_the_types_there_are(messaging):
    told = messaging.get("/api/v1/event-types").json()["event_types"]
    assert {one["event_type"] for one in told} == EVENT_TYPES.keys()


def test_a_service_publishes_under_its_role(cloud, ids):
    payload = AIJobQueued.model_validate(EVENT_TYPES["ai.job.queued"].example)

    async def publish():
        auth = cloud.signed("santaclaude-local-ai-dispatch")
        async with MessageClient(cloud.execute_api("messaging"), auth=auth) as client:
            sent = EventCreate.of(payload, event_id=ids())
            return await client.publish_batch([sent])

    result = asyncio.run(publish())
    assert [item.message_id for item in result.results] == [ids()]
    with httpx.Client(base_url=cloud.door("MESSAGING")) as client:
        assert client.get(f"/api/v1/events/{ids()}").json()["source"] == "santaclaude.ai"


def test_other_roles_are_refused(cloud):
    """Whatever their own policy allows: the API denies whom it does not name."""
    iam, name = cloud.client("iam"), f"stranger-{uuid4().hex[:8]}"
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    allowed = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "execute-api:*", "Resource": "*"}],
    }
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(allowed))
    try:
        with httpx.Client(auth=cloud.signed(name)) as client:
            url = f"{cloud.execute_api('messaging')}/api/v1/events"
            assert client.post(url, json=event()).status_code == 403
            assert client.post(f"{url}/batch", json={"events": [event()]}).status_code == 403
    finally:
        iam.delete_role_policy(RoleName=name, PolicyName="all")
        iam.delete_role(RoleName=name)


def test_what_was_left_behind_is_swept(cloud, messaging, bus_listener, ids):
    """As if the process had been killed after it accepted: the item as it lies then."""
    heard = bus_listener({"detail": {"id": [ids(1)]}})
    dynamodb, table = cloud.client("dynamodb"), "santaclaude-local-messaging"
    response = messaging.post("/api/v1/events", json=event(id=ids(0)))
    assert response.status_code == 202
    key = {"pk": {"S": f"EVENT#{ids(0)}"}, "sk": {"S": "EVENT"}}
    item = dynamodb.get_item(TableName=table, Key=key)["Item"]
    assert "gsi2pk" not in item
    accepted = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() - 300))
    left = {
        **{name: value for name, value in item.items() if name != "published_at"},
        "pk": {"S": f"EVENT#{ids(1)}"},
        "event_id": {"S": ids(1)},
        "accepted_at": {"S": accepted},
        "gsi2pk": {"S": "UNPUBLISHED#3"},
        "gsi2sk": {"S": f"{accepted}#{ids(1)}"},
    }
    dynamodb.put_item(TableName=table, Item=left)
    assert messaging.get(f"/api/v1/events/{ids(1)}").json()["state"] == "accepted"
    answer = cloud.client("lambda").invoke(
        FunctionName="santaclaude-local-messaging-sweep:live", Payload=b"{}"
    )
    assert "FunctionError" not in answer, answer["Payload"].read()
    assert eventually(heard)
    state = messaging.get(f"/api/v1/events/{ids(1)}").json()["state"]
    assert state != "accepted"


def test_a_thousand_publishes_fifty_in_flight(cloud, ids):
    async def publish():
        limits = httpx.Limits(max_connections=50)
        turn = asyncio.Semaphore(50)
        async with httpx.AsyncClient(
            base_url=cloud.door("MESSAGING"), timeout=120, limits=limits
        ) as client:

            async def one(number: int) -> int:
                async with turn:
                    response = await client.post("/api/v1/events", json=event(id=ids(number)))
                    return response.status_code

            return await asyncio.gather(*(one(number) for number in range(1000)))

    assert set(asyncio.run(publish())) == {202}
