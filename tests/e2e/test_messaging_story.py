"""What the message service is for, in one story: a job is watched live, its events are one chain,
one receiver gets them, and what another one missed is found, explained and sent again.
"""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import httpx
import pytest

from contracts.messaging.client import MessageClient
from contracts.messaging.progress import ProgressFrame
from contracts.messaging.realtime import ProgressClient
from functions.messaging.domain.webhook_fanout import CACHED_SECONDS
from tests.e2e.conftest import chat_request, eventually
from tests.fakes.webhook_receiver import Behaviour, WebhookReceiver

SUBSCRIPTIONS = "/api/v1/subscriptions"
WAIT_SECONDS = 60.0


@pytest.fixture
def receivers() -> Iterator[tuple[WebhookReceiver, WebhookReceiver]]:
    """One that takes everything, and one that is gone."""
    with WebhookReceiver() as good, WebhookReceiver([Behaviour(410)]) as failing:
        yield good, failing


@pytest.fixture
def subscriptions(messaging, receivers) -> Iterator[list[dict]]:
    """Of the receivers, for the events of jobs."""
    made = []
    for receiver in receivers:
        body = {"url": receiver.url, "types": ["ai.job.*"]}
        answer = messaging.post(SUBSCRIPTIONS, json=body)
        assert answer.status_code == 201, answer.text
        made.append(answer.json())
    yield made
    for one in made:
        messaging.delete(f"{SUBSCRIPTIONS}/{one['subscription_id']}")


async def watched(cloud, job_id: str) -> list[str]:
    """The job's statuses as a person sees them, live at the front door."""
    topic = f"job:{job_id}"
    statuses = []
    async with MessageClient(cloud.door("MESSAGING")) as service:
        client = ProgressClient(lambda: service.create_ticket([topic]), {topic: 0})
        async with aclosing(client.follow()) as following:
            async for told in following:
                assert isinstance(told, ProgressFrame)
                statuses.append(told.data["status"])
                if told.terminal:
                    return statuses
    raise AssertionError(statuses)


def chain(messaging: httpx.Client, correlation_id: str) -> list[dict]:
    """The lives of the events that belong together, in their order."""
    answer = messaging.get("/api/v1/events", params={"correlation_id": correlation_id})
    assert answer.status_code == 200, answer.text
    ids = [event["id"] for event in answer.json()["events"]]
    return [messaging.get(f"/api/v1/events/{event_id}").json() for event_id in ids]


def test_a_job_is_watched_explained_and_told_again(
    cloud, ai, session, messaging, receivers, subscriptions
):
    good, failing = receivers
    # Whoever fans out sees a new subscription within so many seconds.
    asyncio.run(asyncio.sleep(CACHED_SECONDS + 1))
    queued = ai.post("/api/v1/jobs", json=chat_request(session, "Do it", priority="high"))
    assert queued.status_code == 202, queued.text
    job_id = queued.json()["job_id"]

    statuses = asyncio.run(asyncio.wait_for(watched(cloud, job_id), WAIT_SECONDS))
    assert (statuses[0], statuses[-1]) == ("queued", "completed")

    def ended() -> list[dict]:
        events = chain(messaging, job_id)
        return events if events and events[-1]["payload"].get("status") == "completed" else []

    events = eventually(ended)
    assert [event["event_type"] for event in events] == [
        "ai.job.queued",
        *["ai.job.updated"] * (len(events) - 1),
    ]
    assert {event["causation_id"] for event in events[1:]} == {events[0]["id"]}
    ids = {event["id"] for event in events}

    secret = subscriptions[0]["secret"]
    eventually(lambda: ids <= set(good.ids))
    received = [one.verified(secret) for one in good.received]
    told = {event["id"]: event["data"] for event in received if event["correlationid"] == job_id}
    assert told == {event["id"]: event["payload"] for event in events}

    # The other receiver said that it is gone. What was not delivered is found and explained.
    of_failing = f"{SUBSCRIPTIONS}/{subscriptions[1]['subscription_id']}"
    consumer = f"subscription:{subscriptions[1]['subscription_id']}"
    assert eventually(lambda: messaging.get(of_failing).json()["disabled"])["reason"] == "gone"

    def dead() -> list[dict]:
        answer = messaging.get(
            "/api/v1/streams/ai-events/dead-letters", params={"consumer": consumer}
        )
        assert answer.status_code == 200, answer.text
        letters = answer.json()["dead_letters"]
        states = {
            one["state"] for one in messaging.get(f"{of_failing}/deliveries").json()["deliveries"]
        }
        return letters if states == {"dead"} else []

    letters = eventually(dead)
    lost = {letter["event_id"]: letter["error"] for letter in letters}
    assert "status_410" in lost.values()
    assert set(lost.values()) <= {"status_410", "subscription_disabled"}
    gone = next(event_id for event_id, error in lost.items() if error == "status_410")
    life = messaging.get(f"/api/v1/events/{gone}").json()
    assert life["state"] == "dead"
    attempts = [moment for moment in life["moments"] if moment.get("consumer") == consumer]
    assert any("status_410" in moment["details"].values() for moment in attempts), attempts

    failing.behaves(Behaviour())
    refused = len(failing.ids)
    version = messaging.get(of_failing).json()["version"]
    enabled = messaging.patch(of_failing, json={"version": version, "enabled": True})
    assert enabled.status_code == 200, enabled.text
    redriven = messaging.post(
        "/api/v1/streams/ai-events/redrive", json={"filter": {"consumer": consumer}}
    )
    assert redriven.status_code == 202, redriven.text
    eventually(lambda: set(lost) <= set(failing.ids[refused:]))
    assert {one.verified(subscriptions[1]["secret"])["id"] for one in failing.received} >= set(lost)
    eventually(lambda: messaging.get(f"/api/v1/events/{gone}").json()["state"] == "delivered")
