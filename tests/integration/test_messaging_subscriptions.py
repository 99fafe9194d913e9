"""Subscriptions, slots and queues as AWS keeps them."""

import asyncio
import json
from datetime import timedelta

import pytest
from botocore.session import get_session

from functions.messaging.adapters.dynamodb_endpoints import DynamoEndpoints
from functions.messaging.adapters.dynamodb_subscriptions import DynamoSubscriptions
from functions.messaging.adapters.sqs_webhooks import SqsDeliveries, SqsHolder
from functions.messaging.domain.queue_errors import QueueUnavailableError
from functions.messaging.domain.subscription_service import (
    NewSubscription,
    SubscriptionService,
    WebhookStores,
)
from functions.messaging.domain.webhook_audit import SubscriptionAudit
from functions.messaging.domain.webhook_deliveries import DeliveryKey
from functions.messaging.domain.webhook_ports import DeliveryMessage, OrderedMessage
from servicekit.audit import AuditTrail
from servicekit.dynamodb import DynamoRecords
from servicekit.idempotency import Idempotency, IdempotencyConflictError, Request
from tests.fakes.memory import MemoryOutbox
from tests.fakes.messaging_webhooks import ScriptedEndpoints, SetClock

pytestmark = pytest.mark.anyio

NEW = NewSubscription(
    url="https://hooks.example.com/",
    types=("*",),
    filter=None,
    description="",
    enabled=True,
    ordered=False,
    max_concurrency=5,
    secret=None,
)


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
def service(table, clock):
    return SubscriptionService(
        WebhookStores(DynamoSubscriptions(table), None, DynamoEndpoints(table, clock, 30)),
        ScriptedEndpoints(),
        Idempotency(DynamoRecords(table), clock, 86_400),
        SubscriptionAudit(AuditTrail(MemoryOutbox(), clock)),
        clock,
    )


async def test_a_key_makes_one_subscription_and_keeps_no_secret(service, make_client, clock):
    request = Request("k", "f")
    first = await service.create(NEW, request)
    again = await service.create(NEW, request)
    assert again.subscription == first.subscription
    assert again.made_secret is None
    with pytest.raises(IdempotencyConflictError):
        await service.create(NEW, Request("k", "other"))
    items = make_client().scan(TableName="santaclaude-local-ai")["Items"]
    with_secret = [item["pk"]["S"] for item in items if first.made_secret in json.dumps(item)]
    assert with_secret == [f"SECRETS#{first.subscription.subscription_id}"]


async def test_a_repeated_rotation_keeps_the_secrets(service, table):
    ident = (await service.create(NEW, None)).subscription.subscription_id
    first = await service.rotate(ident, None, 60, Request("r", "f"))
    again = await service.rotate(ident, None, 60, Request("r", "f"))
    assert (again.made_secret, again.former_until) == (None, first.former_until)
    kept = await DynamoSubscriptions(table).secrets(ident)
    assert kept is not None
    assert kept.current == first.made_secret


async def test_rivals_for_slots_get_no_more_than_there_are(table, clock):
    stores = [DynamoEndpoints(table, clock, 30) for _ in range(3)]
    until = clock() + timedelta(seconds=60)
    took = await asyncio.gather(
        *(stores[n % 3].take("s", 4, f"holder-{n}", until) for n in range(12))
    )
    assert 1 <= sum(took) <= 4
    holders = [n for n, has in enumerate(took) if has]
    for n in holders:
        await stores[n % 3].release("s", f"holder-{n}", "delivered", clock())
    again = [await stores[0].take("s", 4, f"again-{n}", until) for n in range(5)]
    assert again == [True] * 4 + [False]


async def test_a_slot_that_outlived_its_lease_is_not_taken_from_its_new_holder(table, clock):
    store = DynamoEndpoints(table, clock, 30)
    assert await store.take("s", 1, "slow", clock() + timedelta(seconds=5))
    clock.forward(6)
    assert await store.take("s", 1, "next", clock() + timedelta(seconds=5))
    health = await store.release("s", "slow", "failed", clock())
    assert health.failing_since == clock()
    assert not await store.take("s", 1, "third", clock() + timedelta(seconds=5))


@pytest.fixture
def queues(make_client):
    def make():
        return get_session().create_client("sqs")

    client = make()
    url = client.create_queue(QueueName="deliveries")["QueueUrl"]
    ordered = client.create_queue(QueueName="deliveries.fifo", Attributes={"FifoQueue": "true"})[
        "QueueUrl"
    ]
    return client, url, ordered, SqsDeliveries(url, ordered, make)


def received(client, url, count):
    found = []
    while len(found) < count:
        answer = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
        if not answer.get("Messages"):
            break
        found += answer["Messages"]
    return found


async def test_messages_go_in_tens(queues):
    client, url, _, queue = queues
    await queue.send([DeliveryMessage(DeliveryKey(f"e{n}", "s", None)) for n in range(25)])
    bodies = [json.loads(message["Body"]) for message in received(client, url, 25)]
    assert sorted(body["event_id"] for body in bodies) == sorted(f"e{n}" for n in range(25))
    assert bodies[0].keys() == {"event_id", "subscription_id", "replay_id"}


async def test_a_delay_is_never_beyond_what_sqs_takes(queues):
    client, url, _, queue = queues
    await queue.send([DeliveryMessage(DeliveryKey("e", "s"), 5_000)])
    assert received(client, url, 1) == []
    attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessagesDelayed"] == "1"


async def test_one_event_for_two_subscriptions_is_two_ordered_messages(queues):
    client, _, ordered, queue = queues
    messages = [OrderedMessage(one, "k", "e") for one in ("s1", "s2")]
    await queue.send_ordered(messages)
    await queue.send_ordered(messages)
    found = received(client, ordered, 4)
    assert sorted(json.loads(message["Body"])["subscription_id"] for message in found) == [
        "s1",
        "s2",
    ]
    await SqsHolder(queue, found[0]["ReceiptHandle"]).hide(0)
    (again,) = received(client, ordered, 1)
    assert again["Body"] == found[0]["Body"]


async def test_refused_entries_are_sent_again_and_only_those():
    sent = []

    class Half:
        def send_message_batch(self, QueueUrl, Entries):  # noqa: N803
            sent.append([json.loads(entry["MessageBody"])["event_id"] for entry in Entries])
            failed = Entries[1:] if len(sent) == 1 else []
            return {"Failed": [{"Id": entry["Id"], "Code": "Throttled"} for entry in failed]}

    queue = SqsDeliveries("u", "o", Half)
    await queue.send([DeliveryMessage(DeliveryKey(f"e{n}", "s")) for n in range(3)])
    assert sent == [["e0", "e1", "e2"], ["e1", "e2"]]


async def test_a_queue_that_takes_nothing_is_told():
    class Refusing:
        def send_message_batch(self, QueueUrl, Entries):  # noqa: N803
            return {"Failed": [{"Id": entry["Id"], "Code": "Throttled"} for entry in Entries]}

    with pytest.raises(QueueUnavailableError):
        await SqsDeliveries("u", "o", Refusing).send([DeliveryMessage(DeliveryKey("e", "s"))])
