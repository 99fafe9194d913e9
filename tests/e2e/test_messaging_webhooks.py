"""Webhooks through the front door, the deployed worker and its queues, to a receiver on loopback
that checks them with the library that receivers use.
"""

import asyncio
import time
import uuid
from collections.abc import Iterator

import pytest

from functions.messaging.adapters.dynamodb_deliveries import DynamoDeliveries
from functions.messaging.domain.webhook_deliveries import Delivery, DeliveryKey
from functions.messaging.domain.webhook_fanout import CACHED_SECONDS
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable
from tests.e2e.conftest import eventually, problem
from tests.fakes.webhook_receiver import Behaviour, WebhookReceiver

PATH = "/api/v1/subscriptions"
TABLE = "santaclaude-local-messaging"
SECRET = "whsec_" + "A" * 32


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as running:
        yield running


@pytest.fixture
def subscribe(messaging, receiver):
    """Makes subscriptions for the receiver, which end with the test."""
    made = []

    def make(**fields) -> dict:
        # A type of its own: other tests' events are not for it.
        body = {"url": receiver.url, "types": [f"e2e.{uuid.uuid4().hex}"]} | fields
        answer = messaging.post(PATH, json=body)
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["subscription_id"])
        return answer.json()

    yield make
    for subscription_id in made:
        messaging.delete(f"{PATH}/{subscription_id}")


def deliveries(messaging, subscription: dict) -> list[dict]:
    answer = messaging.get(f"{PATH}/{subscription['subscription_id']}/deliveries")
    assert answer.status_code == 200, answer.text
    return answer.json()["deliveries"]


def publish(messaging, event_type: str, **fields) -> str:
    body = {"event_type": event_type, "payload": {"text": "gr\u00fc\u00df"}} | fields
    answer = messaging.post("/api/v1/events", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()["message_id"]


def until_known() -> None:
    """Whoever fans out sees a new subscription within so many seconds."""
    time.sleep(CACHED_SECONDS + 1)


def fanned_out(cloud, subscription: dict, event_id: str) -> None:
    """A delivery as fan-out stores it, whose message was never sent."""
    now = utc_now()

    async def store() -> None:
        table = DynamoTable(TABLE, lambda: cloud.client("dynamodb"))
        delivery = Delivery(
            key=DeliveryKey(event_id, subscription["subscription_id"]),
            event_type=subscription["types"][0],
            tenant="none",
            created_at=now,
            next_attempt_at=now,
        )
        assert await DynamoDeliveries(table, 30).create(delivery, now)
        table.close()

    asyncio.run(store())


def test_a_subscription_lives_at_the_front_door(messaging, receiver, subscribe):
    made = subscribe(filter={"tenant": "project:7"}, description="e2e")
    secret = made.pop("secret")
    one = f"{PATH}/{made['subscription_id']}"
    assert messaging.get(one).json() == made
    listed = messaging.get(PATH, params={"limit": 100}).json()["subscriptions"]
    assert made in listed

    tested = messaging.post(f"{one}/test").json()
    assert (tested["delivered"], tested["status"], tested["error"]) == (True, 204, None)
    (received,) = receiver.received
    assert received.verified(secret)["type"] == "webhook.test"
    assert received.headers["webhook-id"] == tested["event_id"]

    rotated = messaging.post(f"{one}/secrets", json={"overlap_seconds": 600}).json()
    messaging.post(f"{one}/test")
    for known in (secret, rotated["secret"]):
        assert receiver.received[-1].verified(known)["specversion"] == "1.0"

    receiver.behaves(Behaviour(302, {"location": receiver.url}))
    failed = messaging.post(f"{one}/test").json()
    assert (failed["delivered"], failed["status"], failed["error"]) == (False, 302, "redirected")

    changed = messaging.patch(one, json={"version": 1, "max_concurrency": 2})
    assert changed.json()["version"] == 2
    problem(messaging.patch(one, json={"version": 1, "ordered": True}), 409, "subscription_changed")
    told = messaging.get(one).text + messaging.get(PATH).text
    assert secret not in told
    assert rotated["secret"] not in told
    assert messaging.delete(one).status_code == 200
    problem(messaging.get(one), 404, "subscription_not_found")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "http://a@127.0.0.1/",
        "ftp://127.0.0.1/",
    ],
)
def test_what_lies_behind_the_wall_is_refused(messaging, url):
    found = problem(messaging.post(PATH, json={"url": url, "types": ["*"]}), 422)
    assert [error["field"] for error in found["errors"]] == ["url"]


def test_a_repeated_key_makes_one_subscription(messaging, receiver):
    body = {"url": receiver.url, "types": ["e2e.never"], "description": uuid.uuid4().hex}
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first, again = (messaging.post(PATH, json=body, headers=headers).json() for _ in range(2))
    assert again == first | {"secret": None}
    messaging.delete(f"{PATH}/{first['subscription_id']}")


def test_the_worker_delivers_what_the_stream_and_the_sweep_bring(
    cloud, messaging, receiver, subscribe
):
    subscription = subscribe(secret=SECRET)
    until_known()
    receiver.behaves(Behaviour(503, body=b"try later"), Behaviour())
    sent = publish(messaging, subscription["types"][0])

    def delivered(event_id: str):
        found = {one["event_id"]: one for one in deliveries(messaging, subscription)}
        one = found.get(event_id)
        return one if one and one["state"] == "delivered" else None

    found = eventually(lambda: delivered(sent))
    assert [(one["status"], one["error"]) for one in found["log"]] == [
        (503, "status_503"),
        (204, None),
    ]
    assert found["log"][0]["answer"] == "try later"
    assert receiver.ids == [sent, sent]
    event = receiver.received[-1].verified(SECRET)
    assert event["data"] == {"text": "gr\u00fc\u00df"}

    # Of another type: nothing but the sweep brings it.
    swept = publish(messaging, f"e2e.{uuid.uuid4().hex}")
    fanned_out(cloud, subscription, swept)
    eventually(lambda: delivered(swept), 100)
    assert receiver.ids == [sent, sent, swept]


def test_the_worker_keeps_the_order_of_a_key(messaging, receiver, subscribe):
    subscription = subscribe(secret=SECRET, ordered=True)
    until_known()
    receiver.behaves(Behaviour(500), Behaviour())
    key = uuid.uuid4().hex
    events = [publish(messaging, subscription["types"][0], ordering_key=key) for _ in range(3)]
    eventually(lambda: len(receiver.ids) == 4)
    assert receiver.ids == [events[0], *events]
    eventually(
        lambda: {one["state"] for one in deliveries(messaging, subscription)} == {"delivered"}
    )


def test_a_published_event_reaches_the_webhook(messaging, receiver, subscribe):
    """The whole path: accepted, put on the bus, routed, fanned out, posted."""
    subscription = subscribe(secret=SECRET, filter={"data.n": 1})
    (event_type,) = subscription["types"]
    # Whoever fans out sees the subscription within seconds.
    ids = []

    def reached():
        for number in (0, 1):
            body = {"event_type": event_type, "payload": {"n": number}}
            answer = messaging.post("/api/v1/events", json=body)
            assert answer.status_code == 202, answer.text
            if number:
                ids.append(answer.json()["message_id"])
        return receiver.received

    eventually(reached)
    (first, *_) = receiver.received
    event = first.verified(SECRET)
    assert event["id"] in ids
    assert event["type"] == event_type
    assert event["data"] == {"n": 1}
