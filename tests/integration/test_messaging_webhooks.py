"""Deliveries of webhooks, over the memory and over DynamoDB: states, faults, order, slots."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from functions.messaging.adapters.dynamodb_deliveries import DynamoDeliveries
from functions.messaging.adapters.dynamodb_endpoints import DynamoEndpoints
from functions.messaging.adapters.dynamodb_events import DynamoEvents
from functions.messaging.adapters.dynamodb_life import DynamoLife
from functions.messaging.adapters.dynamodb_order import DynamoCursors, DynamoKeyLog
from functions.messaging.adapters.dynamodb_subscriptions import DynamoSubscriptions
from functions.messaging.adapters.schemas import EventSchemas
from functions.messaging.domain.envelopes import StoredEnvelopes
from functions.messaging.domain.webhook_deliveries import SCHEDULE_SECONDS, DeliveryKey
from functions.messaging.domain.webhook_ports import Answered
from servicekit.clock import to_text
from servicekit.errors import StoreUnavailableError
from servicekit.paging import InvalidCursorError
from tests.fakes.messaging_webhooks import SetClock, Stores, Webhooks

pytestmark = pytest.mark.anyio


def dynamo_stores(table, clock) -> Stores:
    events = DynamoEvents(table, 30)

    async def put(event) -> None:
        assert await events.accept(event) is None

    return Stores(
        DynamoSubscriptions(table),
        DynamoDeliveries(table, 30),
        DynamoEndpoints(table, clock, 30),
        StoredEnvelopes(events, EventSchemas()),
        DynamoKeyLog(table),
        DynamoCursors(table, clock, 30),
        DynamoLife(table, clock, 30),
        put,
    )


@pytest.fixture(params=["memory", "dynamodb"])
def hooks(request) -> Iterator[Webhooks]:
    clock = SetClock()
    if request.param == "memory":
        yield Webhooks(clock=clock)
    else:
        yield Webhooks(dynamo_stores(request.getfixturevalue("table"), clock), clock)


async def test_an_event_is_delivered_once_signed_and_told(hooks):
    subscription = await hooks.subscribe()
    envelope = await hooks.offered()
    await hooks.fanout.offer(envelope, None)
    (message,) = hooks.take()
    await hooks.worker.work(message.key)
    await hooks.worker.work(message.key)
    (posted,) = hooks.endpoints.posted
    assert posted.url == "https://hooks.example.com/x"
    assert json.loads(posted.body)["id"] == envelope.id == posted.headers["webhook-id"]
    assert "target" not in json.loads(posted.body)
    delivery = await hooks.state(envelope, subscription)
    assert (delivery.state, delivery.attempts, delivery.error) == ("delivered", 1, None)
    (moment,) = await hooks.stores.life.of(envelope.id)
    assert (moment.kind, moment.attempt) == ("webhook_attempted", 1)
    assert moment.consumer == f"subscription:{subscription.subscription_id}"
    assert moment.details["outcome"] == "delivered"
    assert hooks.letters.letters == {}


async def test_only_who_wants_it_gets_it(hooks):
    wanting = await hooks.subscribe(types=("card.*",), filter={"data.board": [1, 2]})
    await hooks.subscribe(types=("card.*",), filter={"tenant": "project:8"})
    await hooks.subscribe(types=("user.*",))
    await hooks.subscribe(enabled=False)
    await hooks.offered(data={"board": 2})
    assert [message.key.subscription_id for message in hooks.take()] == [wanting.subscription_id]


async def test_what_was_accepted_before_comes_with_a_replay_alone(hooks):
    envelope = await hooks.event()
    hooks.clock.forward(1)
    subscription = await hooks.subscribe()
    await hooks.fanout.offer(envelope, None)
    assert hooks.take() == []
    await hooks.fanout.offer(envelope, "replay-1")
    await hooks.fanout.offer(envelope, "replay-1")
    (message,) = hooks.take()
    assert message.key == DeliveryKey(envelope.id, subscription.subscription_id, "replay-1")
    await hooks.worker.work(message.key)
    assert len(hooks.endpoints.posted) == 1


async def test_failures_follow_the_schedule_to_the_dead_letters(hooks):
    subscription = await hooks.subscribe()
    envelope = await hooks.offered()
    hooks.endpoints.fails(503, answer="try later")
    pauses = []
    for _ in range(20):
        before = hooks.clock.now
        await hooks.run()
        delivery = await hooks.state(envelope, subscription)
        if not delivery.open:
            break
        pauses.append((delivery.next_attempt_at - hooks.clock.now).total_seconds())
        if not hooks.queue.plain:
            # Too long for the queue: the sweep sends for it.
            hooks.clock.forward(pauses[-1])
            await hooks.sweep.sweep()
        assert hooks.queue.plain, before
    assert pauses == list(SCHEDULE_SECONDS)
    assert (delivery.state, delivery.attempts, delivery.error) == ("dead", 7, "status_503")
    assert set(hooks.endpoints.ids) == {envelope.id}
    (letter,) = hooks.letters.letters.values()
    assert letter.consumer == f"subscription:{subscription.subscription_id}"
    assert (letter.error, letter.attempts, letter.stream) == ("status_503", 7, "kanban-events")
    kinds = [moment.kind for moment in await hooks.stores.life.of(envelope.id)]
    assert sorted(kinds) == ["dead", *["webhook_attempted"] * 7]
    page = await hooks.service.deliveries(subscription.subscription_id, 10, None)
    (logged,) = page.deliveries
    assert [attempt.number for attempt in logged.log] == list(range(1, 8))
    assert {attempt.answer for attempt in logged.log} == {"try later"}


async def test_an_endpoint_is_left_alone_as_long_as_it_asks_for_within_bounds(hooks):
    subscription = await hooks.subscribe()
    envelope = await hooks.offered()
    hooks.endpoints.fails(429, retry_after=60.0)
    await hooks.run()
    assert [message.delay_seconds for message in hooks.queue.plain] == [60]
    hooks.endpoints.fails(429, retry_after=0.0)
    await hooks.run()
    assert [message.delay_seconds for message in hooks.queue.plain] == [30]
    hooks.endpoints.fails(429, retry_after=1e9)
    await hooks.run()
    delivery = await hooks.state(envelope, subscription)
    assert delivery.next_attempt_at - hooks.clock.now == timedelta(hours=4)


async def test_duplicates_at_once_make_one_request(hooks):
    await hooks.subscribe()
    await hooks.offered()
    (message,) = hooks.take()

    async def wait() -> None:
        await asyncio.sleep(0.05)

    hooks.endpoints.while_posting = wait
    await asyncio.gather(*(hooks.worker.work(message.key) for _ in range(5)))
    assert len(hooks.endpoints.posted) == 1


async def test_an_early_repetition_makes_no_request(hooks):
    await hooks.subscribe()
    await hooks.offered()
    hooks.endpoints.fails()
    first = hooks.take()[0]
    await hooks.worker.work(first.key)
    await hooks.worker.work(first.key)
    assert len(hooks.endpoints.posted) == 1


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_crash_before_sending_is_healed(hooks, ordered):
    subscription = await hooks.subscribe(ordered=ordered)
    hooks.queue.failing = True
    envelope = await hooks.offered(ordering_key="k" if ordered else None)
    hooks.queue.failing = False
    assert (hooks.queue.plain, hooks.queue.ordered) == ([], [])
    await hooks.swept()
    assert (await hooks.state(envelope, subscription)).state == "delivered"
    await hooks.swept()
    assert len(hooks.endpoints.posted) == 1


async def test_a_crash_between_request_and_record_repeats_the_request(hooks):
    """At least once: nothing tells whether the endpoint took it."""
    subscription = await hooks.subscribe()
    envelope = await hooks.offered()
    hooks.endpoints.script = [asyncio.CancelledError(), Answered(3, 204)]
    (message,) = hooks.take()
    with pytest.raises(asyncio.CancelledError):
        await hooks.worker.work(message.key)
    # While its lease lasts nobody else tries.
    await hooks.worker.work(message.key)
    assert len(hooks.endpoints.posted) == 1
    await hooks.swept()
    assert (await hooks.state(envelope, subscription)).state == "delivered"
    assert len(hooks.endpoints.posted) == 2


async def test_a_crash_before_the_dead_letter_is_healed(hooks):
    subscription = await hooks.subscribe()
    envelope = await hooks.offered()
    hooks.endpoints.fails(410)
    hooks.letters.failing = True
    (message,) = hooks.take()
    with pytest.raises(StoreUnavailableError):
        await hooks.worker.work(message.key)
    assert (await hooks.state(envelope, subscription)).state == "dying"
    hooks.letters.failing = False
    await hooks.swept()
    assert (await hooks.state(envelope, subscription)).state == "dead"
    assert len(hooks.letters.letters) == 1
    assert len(hooks.endpoints.posted) == 1


async def test_a_store_that_fails_before_the_request_costs_no_attempt(hooks):
    subscription = await hooks.subscribe()
    envelope = await hooks.offered()
    (message,) = hooks.take()
    lease = hooks.stores.deliveries.lease

    async def throttled(*_args):
        raise StoreUnavailableError(retry_after=1)

    hooks.stores.deliveries.lease = throttled
    with pytest.raises(StoreUnavailableError):
        await hooks.worker.work(message.key)
    assert hooks.endpoints.posted == []
    hooks.stores.deliveries.lease = lease
    await hooks.worker.work(message.key)
    assert (await hooks.state(envelope, subscription)).attempts == 1


async def test_no_more_requests_at_once_than_the_endpoint_wants(hooks):
    await hooks.subscribe(max_concurrency=2)
    for _ in range(6):
        await hooks.offered()
    at_once = most = 0

    async def count() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.05)
        at_once -= 1

    hooks.endpoints.while_posting = count
    for _ in range(20):
        taken = hooks.take()
        if not taken:
            break
        hooks.clock.forward(max(message.delay_seconds for message in taken))
        await asyncio.gather(*(hooks.worker.work(message.key) for message in taken))
    assert most == 2
    assert len(hooks.endpoints.posted) == 6


async def test_waiting_for_a_slot_costs_no_attempt_and_a_crash_gives_it_back(hooks):
    subscription = await hooks.subscribe(max_concurrency=1)
    store, now = hooks.stores.endpoints, hooks.clock.now
    assert await store.take(subscription.subscription_id, 1, "crashed", now + timedelta(seconds=9))
    envelope = await hooks.offered()
    await hooks.run()
    assert hooks.endpoints.posted == []
    assert [message.delay_seconds for message in hooks.queue.plain] == [1]
    assert (await hooks.state(envelope, subscription)).attempts == 0
    hooks.clock.forward(9)
    await hooks.run()
    assert (await hooks.state(envelope, subscription)).state == "delivered"


async def test_gone_disables_at_once_and_is_told(hooks):
    subscription = await hooks.subscribe()
    gone, waiting = await hooks.offered(), await hooks.offered()
    hooks.endpoints.fails(410)
    await hooks.run()
    present = await hooks.stores.subscriptions.get(subscription.subscription_id)
    assert present.disabled.reason == "gone"
    assert present.announced
    assert (await hooks.state(gone, subscription)).error == "status_410"
    later = await hooks.state(waiting, subscription)
    assert (later.state, later.error, later.attempts) == ("dead", "subscription_disabled", 0)
    assert len(hooks.endpoints.posted) == 1
    (event,) = hooks.announced
    assert event.event_type == "webhook.subscription.disabled"
    assert event.payload["subscription_id"] == subscription.subscription_id
    assert event.payload["reason"] == "gone"
    assert hooks.outbox.events[-1]["action"] == "messaging.subscription.disable"
    hooks.timer += 10
    await hooks.offered()
    assert hooks.take() == []


async def test_a_disabling_that_could_not_be_told_is_told_by_the_sweep_under_the_same_id(hooks):
    subscription = await hooks.subscribe()
    await hooks.offered()
    hooks.endpoints.fails(410)
    hooks.publishing_fails = True
    await hooks.run()
    assert hooks.announced == []
    hooks.publishing_fails = False
    hooks.clock.forward(1)
    await hooks.sweep.sweep()
    await hooks.sweep.sweep()
    (event,) = hooks.announced
    present = await hooks.stores.subscriptions.get(subscription.subscription_id)
    assert event.payload["disabled_at"] == to_text(present.disabled.at)


async def test_an_endpoint_that_only_fails_is_disabled_after_a_day_and_some_deaths(hooks):
    subscription = await hooks.subscribe()
    hooks.endpoints.fails()

    async def present():
        return await hooks.stores.subscriptions.get(subscription.subscription_id)

    async def to_death() -> None:
        envelope = await hooks.offered()
        while (await hooks.state(envelope, subscription)).open:
            delivery = await hooks.state(envelope, subscription)
            hooks.clock.now = max(hooks.clock.now, delivery.next_attempt_at)
            await hooks.worker.work(delivery.key)

    await to_death()
    hooks.clock.forward(86_400)
    await hooks.offered()
    await hooks.run()
    assert (await present()).enabled, "one death is not enough"
    await to_death()
    assert (await present()).disabled.reason == "failing"
    hooks.endpoints.works()
    enabled = await hooks.service.change(
        subscription.subscription_id, (await present()).version, {"enabled": True}
    )
    assert (enabled.enabled, enabled.disabled) == (True, None)
    hooks.timer += 10
    hooks.endpoints.fails()
    await hooks.offered()
    await hooks.run()
    assert (await present()).enabled, "what went before counts no more"


async def test_one_success_among_failures_keeps_an_endpoint(hooks):
    subscription = await hooks.subscribe()
    store, ident = hooks.stores.endpoints, subscription.subscription_id
    for outcome in ("dead", "dead", "delivered", "failed"):
        hooks.clock.forward(13 * 3600)
        until = hooks.clock.now + timedelta(seconds=60)
        assert await store.take(ident, 5, outcome, until)
        health = await store.release(ident, outcome, outcome, hooks.clock.now)
    assert health.failing_since == hooks.clock.now
    assert health.dead == 0


async def test_a_deleted_subscription_ends_its_deliveries_without_a_dead_letter(hooks):
    subscription = await hooks.subscribe()
    envelope = await hooks.offered()
    await hooks.service.remove(subscription.subscription_id)
    await hooks.run()
    delivery = await hooks.state(envelope, subscription)
    assert (delivery.state, delivery.error) == ("dead", "subscription_deleted")
    assert hooks.endpoints.posted == []
    assert hooks.letters.letters == {}
    assert await hooks.stores.subscriptions.secrets(subscription.subscription_id) is None


async def test_a_redrive_is_another_round(hooks):
    subscription = await hooks.subscribe()
    envelope = await hooks.offered()
    hooks.endpoints.fails(410)
    await hooks.run()
    (letter,) = hooks.letters.letters.values()
    await hooks.service.change(subscription.subscription_id, 2, {"enabled": True})
    hooks.endpoints.fails(500)
    await hooks.redeliveries.redeliver(letter, "redrive-1")
    await hooks.redeliveries.redeliver(letter, "redrive-1")
    assert len(hooks.queue.plain) == 2
    await hooks.run()
    delivery = await hooks.state(envelope, subscription)
    assert (delivery.state, delivery.attempts, delivery.earlier) == ("pending", 2, 1)
    assert [message.delay_seconds for message in hooks.queue.plain] == [5]
    hooks.endpoints.works()
    await hooks.run()
    await hooks.redeliveries.redeliver(letter, "redrive-2")
    assert hooks.queue.plain == [], "what was delivered is not sent again"
    assert (await hooks.state(envelope, subscription)).attempts == 3


async def test_a_second_death_without_an_attempt_is_another_one(hooks):
    subscription = await hooks.subscribe()
    envelope = await hooks.offered()
    hooks.endpoints.fails(410)
    await hooks.run()
    (first,) = hooks.letters.letters.values()
    await hooks.redeliveries.redeliver(first, "redrive-1")
    await hooks.run()
    delivery = await hooks.state(envelope, subscription)
    assert (delivery.state, delivery.error) == ("dead", "subscription_disabled")
    (second,) = hooks.letters.letters.values()
    assert second.attempts == first.attempts
    assert second.delivery_id != first.delivery_id
    kinds = [moment.kind for moment in await hooks.stores.life.of(envelope.id)]
    assert kinds.count("dead") == 2


async def test_secrets_overlap(hooks):
    old, new = "whsec_" + "A" * 32, "whsec_" + "B" * 32
    subscription = await hooks.subscribe(secret=old)
    ident = subscription.subscription_id
    # A receiver refuses timestamps that are far from its own clock.
    hooks.clock.now = datetime.now(UTC)
    rotated = await hooks.service.rotate(ident, new, 3600)
    assert rotated.made_secret is None

    async def posted():
        await hooks.service.test(ident)
        return hooks.endpoints.posted[-1]

    both = await posted()
    assert len(both.headers["webhook-signature"].split()) == 2
    for secret in (old, new):
        Webhook(secret).verify(both.body, dict(both.headers))
    hooks.clock.forward(3600)
    after = await posted()
    assert len(after.headers["webhook-signature"].split()) == 1
    await hooks.service.rotate(ident, old, 0)
    assert len((await posted()).headers["webhook-signature"].split()) == 1


async def test_two_rotations_at_once_do_not_lose_one(hooks):
    subscription = await hooks.subscribe()
    store, ident = hooks.stores.subscriptions, subscription.subscription_id
    before = await store.secrets(ident)
    assert await store.rotate(ident, before, before.rotated("whsec_" + "C" * 32, None))
    assert not await store.rotate(ident, before, before.rotated("whsec_" + "D" * 32, None))


async def test_a_change_of_what_another_changed_is_refused(hooks):
    subscription = await hooks.subscribe()
    store = hooks.stores.subscriptions
    assert await store.replace(replace(subscription, description="a", version=2))
    assert not await store.replace(replace(subscription, description="b", version=2))
    assert (await store.get(subscription.subscription_id)).description == "a"


async def test_subscriptions_and_deliveries_are_paged(hooks):
    made = [(await hooks.subscribe()).subscription_id for _ in range(3)]
    for _ in range(3):
        hooks.clock.forward(1)
        await hooks.offered()
    found, cursor = [], None
    while True:
        page = await hooks.service.page(2, cursor)
        found += [one.subscription_id for one in page.subscriptions]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == sorted(made)
    events, cursor = [], None
    while True:
        deliveries = await hooks.service.deliveries(made[0], 2, cursor)
        events += [one.delivery.key.event_id for one in deliveries.deliveries]
        cursor = deliveries.next_cursor
        if cursor is None:
            break
    assert events == ["event-003", "event-002", "event-001"]


async def test_a_cursor_of_another_subscription_is_refused(table):
    hooks = Webhooks(dynamo_stores(table, clock := SetClock()), clock)
    one, other = await hooks.subscribe(), await hooks.subscribe()
    for _ in range(2):
        await hooks.offered()
    page = await hooks.service.deliveries(one.subscription_id, 1, None)
    assert page.next_cursor
    with pytest.raises(InvalidCursorError):
        await hooks.service.deliveries(other.subscription_id, 1, page.next_cursor)


async def test_an_endpoint_that_flaps_gets_everything_once_in_effect(hooks):
    subscription = await hooks.subscribe(max_concurrency=50)
    events = [await hooks.offered() for _ in range(10)]
    up = Answered(3, 204)
    down = Answered(3, 500, "status_500"), Answered(9, error="timeout")
    hooks.endpoints.script = [down[0], up, down[1], up] * 30
    for _ in range(5):
        await hooks.run()
    states = [await hooks.state(envelope, subscription) for envelope in events]
    assert {delivery.state for delivery in states} == {"delivered"}
    assert len(hooks.endpoints.ids) == sum(delivery.attempts for delivery in states) > 10
    assert hooks.letters.letters == {}


async def test_an_event_that_has_expired_is_given_up(hooks):
    subscription = await hooks.subscribe()
    envelope = await hooks.offered()

    async def nothing(_event_id):
        return None

    hooks.stores.events.envelope = nothing
    await hooks.run()
    delivery = await hooks.state(envelope, subscription)
    assert (delivery.state, delivery.error, delivery.attempts) == ("dead", "event_expired", 0)
    assert len(hooks.letters.letters) == 1


async def test_what_waits_for_its_turn_is_sent_for_seldom(hooks):
    await hooks.subscribe(ordered=True)
    for _ in range(3):
        await hooks.offered(ordering_key="a")
    hooks.queue.ordered.clear()
    hooks.clock.forward(120)
    for _ in range(30):
        await hooks.sweep.sweep()
        hooks.clock.forward(60)
    assert len(hooks.queue.ordered) == 3


# Order.


async def test_a_failing_event_holds_back_its_key_alone(hooks):
    subscription = await hooks.subscribe(ordered=True)
    one, two = await hooks.offered(ordering_key="a"), await hooks.offered(ordering_key="a")
    other, free = await hooks.offered(ordering_key="b"), await hooks.offered()
    hooks.endpoints.script = [Answered(3, 500, "status_500"), Answered(3, 204)]
    hidden = await hooks.run_ordered()
    await hooks.run()
    assert hooks.endpoints.ids == [one.id, other.id, free.id]
    assert hidden == [5, 5]
    hooks.clock.forward(5)
    assert await hooks.run_ordered() == []
    assert hooks.endpoints.ids == [one.id, other.id, free.id, one.id, two.id]
    assert (await hooks.state(two, subscription)).state == "delivered"


async def test_a_key_goes_on_when_its_event_is_given_up(hooks):
    subscription = await hooks.subscribe(ordered=True)
    first, second = await hooks.offered(ordering_key="a"), await hooks.offered(ordering_key="a")
    hooks.endpoints.script = [Answered(3, 500, "status_500")] * 7 + [Answered(3, 204)]
    waits = []
    for _ in range(8):
        hidden = await hooks.run_ordered()
        if not hidden:
            break
        waits.append(hidden[0])
        hooks.clock.forward(hidden[0])
    assert waits == list(SCHEDULE_SECONDS)
    assert hooks.endpoints.ids == [first.id] * 7 + [second.id]
    assert (await hooks.state(first, subscription)).state == "dead"
    assert len(hooks.letters.letters) == 1


async def test_fan_out_in_another_order_changes_nothing(hooks):
    await hooks.subscribe(ordered=True)
    events = [await hooks.event(ordering_key="a") for _ in range(60)]
    for envelope in reversed(events):
        await hooks.fanout.offer(envelope, None)
    while hooks.queue.ordered:
        await hooks.run_ordered()
    assert hooks.endpoints.ids == [envelope.id for envelope in events]


async def test_two_workers_on_one_key_keep_the_order_and_make_no_request_twice(hooks):
    await hooks.subscribe(ordered=True)
    events = [await hooks.offered(ordering_key="a") for _ in range(5)]

    async def wait() -> None:
        await asyncio.sleep(0.01)

    hooks.endpoints.while_posting = wait
    for _ in range(10):
        await asyncio.gather(hooks.run_ordered(), hooks.run_ordered())
        if not hooks.queue.ordered:
            break
        hooks.clock.forward(5)
    assert hooks.endpoints.ids == [envelope.id for envelope in events]


async def test_the_order_skips_what_is_not_wanted(hooks):
    before = await hooks.event(ordering_key="a")
    hooks.clock.forward(1)
    await hooks.subscribe(ordered=True, filter={"data.n": 1})
    await hooks.event("card.created", ordering_key="a", data={"n": 1})
    await hooks.event(ordering_key="a", data={"n": 2})
    wanted = await hooks.offered(ordering_key="a", data={"n": 1})
    await hooks.fanout.offer(before, None)
    await hooks.run_ordered()
    assert hooks.endpoints.ids == [wanted.id]


async def test_an_event_that_the_cursor_passed_is_delivered_late(hooks):
    """It was not wanted when the cursor came by, and is now."""
    subscription = await hooks.subscribe(ordered=True, filter={"data.n": 1})
    late = await hooks.event(ordering_key="a", data={"n": 2})
    await hooks.offered(ordering_key="a", data={"n": 1})
    await hooks.run_ordered()
    await hooks.service.change(subscription.subscription_id, 1, {"filter": None})
    hooks.timer += 10
    await hooks.fanout.offer(late, None)
    await hooks.run_ordered()
    assert hooks.endpoints.ids[-1] == late.id
    assert len(hooks.endpoints.ids) == 2


async def test_a_disabled_subscription_ends_what_waits_in_its_keys(hooks):
    subscription = await hooks.subscribe(ordered=True)
    first, second = await hooks.offered(ordering_key="a"), await hooks.offered(ordering_key="a")
    hooks.endpoints.fails(410)
    await hooks.run_ordered()
    assert hooks.endpoints.ids == [first.id]
    later = await hooks.state(second, subscription)
    assert (later.state, later.error) == ("dead", "subscription_disabled")
    assert len(hooks.letters.letters) == 2


async def test_a_killed_ordered_worker_goes_on_where_it_was(hooks):
    await hooks.subscribe(ordered=True)
    events = [await hooks.offered(ordering_key="a") for _ in range(3)]
    advance = hooks.stores.cursors.advance

    async def killed(*_args):
        raise asyncio.CancelledError

    hooks.stores.cursors.advance = killed
    with pytest.raises(asyncio.CancelledError):
        await hooks.run_ordered()
    hooks.stores.cursors.advance = advance
    for _ in range(3):
        await hooks.swept()
    assert hooks.endpoints.ids == [envelope.id for envelope in events]
