"""Streams through the deployed stack: attempts, dead letters, redrives, replays."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from contracts.messaging.streams import ALL_STREAMS
from functions.messaging.adapters.dynamodb_events import DynamoEvents
from functions.messaging.domain.events import Event
from servicekit.clock import to_text, utc_now
from servicekit.dynamodb import DynamoTable
from tests.conftest import ROOT
from tests.e2e.conftest import eventually, problem

TABLE = "santaclaude-local-messaging"
TYPE = "e2e.happened"
STREAM = "default-events"
EVENTS = "/api/v1/events"
STREAMS = "/api/v1/streams"
USER_CREATED = json.loads(
    (ROOT / "contracts" / "events" / "user.created" / "v1.example.json").read_text()
)


def envelope(event_id: str, **attributes) -> dict:
    now = to_text(utc_now())
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "santaclaude.e2e",
        "type": TYPE,
        "time": now,
        "datacontenttype": "application/json",
        "correlationid": event_id,
        "tenant": "project:1",
        "acceptedat": now,
        "data": {"project_id": 1},
        **attributes,
    }


def put(cloud, detail: dict) -> None:
    """As any service's code would put it, were it allowed to: past the message service."""
    answer = cloud.client("events").put_events(
        Entries=[
            {
                "EventBusName": "santaclaude-local",
                "Source": detail["source"],
                "DetailType": detail["type"],
                "Detail": json.dumps(detail),
            }
        ]
    )
    assert answer["FailedEntryCount"] == 0


def store(cloud, event_id: str) -> None:
    """An event that the message service has, and that counts as published."""
    now = utc_now()
    event = Event(
        event_id=event_id,
        event_type=TYPE,
        payload=json.dumps({"project_id": 1}),
        source="santaclaude.e2e",
        tenant="project:1",
        correlation_id=event_id,
        occurred_at=now,
        accepted_at=now,
        fingerprint="e2e",
    )
    table = DynamoTable(TABLE, lambda: cloud.client("dynamodb"))

    async def write() -> None:
        events = DynamoEvents(table, 30)
        assert await events.accept(event) is None
        await events.mark_published([event_id], now)

    asyncio.run(write())
    table.close()


def publish(messaging, event_type=TYPE, payload=None) -> str:
    answer = messaging.post(
        EVENTS, json={"event_type": event_type, "payload": payload or {"project_id": 1}}
    )
    assert answer.status_code == 202, answer.text
    return answer.json()["message_id"]


def attempts(messaging, event_id: str, consumer: str) -> list[tuple[int, str]]:
    """Number and outcome of each attempt of a consumer that the event's life tells of."""
    answer = messaging.get(f"{EVENTS}/{event_id}")
    if answer.status_code == 404:
        return []
    assert answer.status_code == 200, answer.text
    return [
        (moment["attempt"], moment["details"]["outcome"])
        for moment in answer.json()["moments"]
        if moment["kind"] == "attempted" and moment["consumer"] == consumer
    ]


def kinds(messaging, event_id: str) -> list[str]:
    return [m["kind"] for m in messaging.get(f"{EVENTS}/{event_id}").json()["moments"]]


def letters(messaging, **query) -> list[dict]:
    answer = messaging.get(f"{STREAMS}/{STREAM}/dead-letters", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["dead_letters"]


def redrive(messaging, **wanted) -> dict:
    answer = messaging.post(f"{STREAMS}/{STREAM}/redrive", json={"filter": wanted, "rate": 100})
    assert answer.status_code == 202, answer.text
    redrive_id = answer.json()["id"]

    def done():
        found = messaging.get(f"/api/v1/redrives/{redrive_id}").json()
        return found if found["state"] == "completed" else None

    return eventually(done)


def test_a_published_event_reaches_its_stream_and_its_life_says_so(messaging):
    event_id = publish(messaging, "user.created", USER_CREATED)
    eventually(lambda: attempts(messaging, event_id, "user-events") == [(1, "done")])
    assert attempts(messaging, event_id, STREAM) == []


def test_an_event_on_the_bus_is_claimed_once_however_often_it_comes(cloud, messaging):
    event_id = f"e2e-{uuid4()}"
    store(cloud, event_id)
    put(cloud, envelope(event_id))
    # One that comes while the first is worked on waits for the claim's lease, longer than a test.
    eventually(lambda: attempts(messaging, event_id, STREAM) == [(1, "done")])
    for _ in range(2):
        put(cloud, envelope(event_id))
    eventually(lambda: len(attempts(messaging, event_id, STREAM)) == 3)
    outcomes = [outcome for _, outcome in attempts(messaging, event_id, STREAM)]
    assert sorted(outcomes) == ["done", "duplicate", "duplicate"]
    claim = cloud.client("dynamodb").get_item(
        TableName=TABLE, Key={"pk": {"S": f"CLAIM#{STREAM}"}, "sk": {"S": event_id}}
    )["Item"]
    assert (claim["status"]["S"], claim["attempts"]["N"]) == ("done", "1")


def test_a_poison_event_is_given_up_listed_explained_and_redriven(cloud, messaging, audit):
    event_id = f"e2e-{uuid4()}"
    store(cloud, event_id)
    put(cloud, envelope(event_id, time="yesterday", type="e2e.poison"))

    def dead():
        return [one for one in letters(messaging) if one["event_id"] == event_id]

    (letter,) = eventually(dead, 150)
    assert letter["error"] == "not_an_event"
    assert (letter["attempts"], letter["redrives"]) == (3, 0)
    assert [one["attempt"] for one in letter["history"]] == [1, 2, 3]
    # What is listed is the event as it is stored, not as it came.
    assert (letter["event_type"], letter["tenant"]) == (TYPE, "project:1")
    life = messaging.get(letter["event_url"]).json()
    assert (life["state"], kinds(messaging, event_id).count("dead")) == ("dead", 1)
    assert messaging.get(f"{STREAMS}/{STREAM}").json()["dead_letters"] >= 1

    dry = messaging.post(
        f"{STREAMS}/{STREAM}/redrive",
        json={"filter": {"error": "not_an_event", "type": TYPE}, "dry_run": True},
    )
    assert dry.status_code == 200, dry.text
    assert event_id in {one["event_id"] for one in dry.json()["samples"]}
    done = redrive(messaging, error="not_an_event", type=TYPE)
    assert done["counts"]["sent"] >= 1
    # Its own form this time: the fourth attempt is good.
    eventually(lambda: (4, "done") in attempts(messaging, event_id, STREAM))
    assert dead() == []
    assert "redriven" in kinds(messaging, event_id)
    assert messaging.get(f"{EVENTS}/{event_id}").json()["state"] == "delivered"

    def audited():
        found = audit.get("/api/v1/events", params={"action": "messaging.redrive.create"})
        return [
            one for one in found.json()["events"] if one["metadata"].get("redrive_id") == done["id"]
        ]

    (record,) = eventually(audited, 90)
    assert record["metadata"]["outcome"] == "allowed"


def test_what_is_no_event_at_all_is_a_dead_letter_too(cloud, messaging):
    before = {one["event_id"] for one in letters(messaging, error="not_an_event")}
    put(cloud, {"source": "santaclaude.e2e", "type": "e2e.nonsense", "text": "nobody's"})

    def new():
        return [
            one
            for one in letters(messaging, error="not_an_event")
            if one["event_id"] not in before and one["event_id"].startswith("bus-")
        ]

    (letter,) = eventually(new, 150)
    assert letter["event_type"] == "e2e.nonsense"
    done = redrive(messaging, type="e2e.nonsense")
    assert done["counts"] == {"sent": 0, "failed": 1}
    assert letters(messaging, type="e2e.nonsense") != []


def test_other_services_report_and_what_is_redriven_is_theirs_alone(messaging):
    consumer = "local-operator-e2e"
    event_id = publish(messaging)
    eventually(lambda: attempts(messaging, event_id, STREAM) == [(1, "done")])
    report = {
        "event_id": event_id,
        "consumer": consumer,
        "attempt": 3,
        "outcome": "failed",
        "error": "search_unavailable",
        "duration_ms": 5,
        "started_at": to_text(utc_now()),
    }
    reports = [report, {**report, "outcome": "dead"}, {**report, "consumer": "ai-cards"}]
    answer = messaging.post("/api/v1/deliveries", json={"deliveries": reports})
    assert answer.status_code == 200, answer.text
    assert [one["status"] for one in answer.json()["results"]] == [200, 200, 403]
    assert attempts(messaging, event_id, consumer) == [(3, "failed")]
    (letter,) = eventually(lambda: letters(messaging, consumer=consumer))
    assert letter["error"] == "search_unavailable"
    done = redrive(messaging, consumer=consumer)
    assert done["counts"] == {"sent": 1, "failed": 0}
    assert letters(messaging, consumer=consumer) == []
    # The stream has had it, and does not get it again: one that comes later is there already.
    later = publish(messaging)
    eventually(lambda: attempts(messaging, later, STREAM) == [(1, "done")])
    assert attempts(messaging, event_id, STREAM) == [(1, "done")]
    stream = messaging.get(f"{STREAMS}/{STREAM}").json()
    assert consumer in {one["name"] for one in stream["consumers"]}


def test_a_replay_brings_a_streams_events_again_and_no_others(messaging):
    begins = utc_now() - timedelta(minutes=1)
    wanted = publish(messaging, "user.created", USER_CREATED)
    other = publish(messaging)
    eventually(lambda: attempts(messaging, wanted, "user-events") == [(1, "done")])
    eventually(lambda: attempts(messaging, other, STREAM) == [(1, "done")])
    answer = messaging.post(
        "/api/v1/replays",
        json={
            "from": to_text(begins),
            "to": to_text(datetime.now(UTC)),
            "stream": "user-events",
            "types": ["user.created"],
        },
    )
    assert answer.status_code == 202, answer.text
    replay_id = answer.json()["id"]
    path = f"/api/v1/replays/{replay_id}"
    eventually(lambda: messaging.get(path).json()["state"] == "completed")
    eventually(lambda: "replayed" in kinds(messaging, wanted))
    assert attempts(messaging, wanted, "user-events") == [(1, "done"), (1, "done")]
    assert replay_id in {one["id"] for one in messaging.get("/api/v1/replays").json()["replays"]}
    later = publish(messaging)
    eventually(lambda: attempts(messaging, later, STREAM) == [(1, "done")])
    assert "replayed" not in kinds(messaging, other)
    assert problem(messaging.post(f"{path}/cancel"), 409, "replay_ended")


@pytest.mark.parametrize("path", ["/api/v1/stats", STREAMS])
def test_figures_are_read_from_the_queues(messaging, path):
    answer = messaging.get(path)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [one["name"] for one in found["streams"]] == list(ALL_STREAMS)
    if "running" in found:
        assert found["running"] is True
        assert found["streams_count"] == len(ALL_STREAMS)
