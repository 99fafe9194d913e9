"""Tickets, connections, the log and the push: what holds whatever goes wrong."""

import asyncio
import json
import logging
from collections import Counter

import pytest

from contracts.messaging.progress import MAX_CLIENT_MESSAGE_BYTES, TICKET_SECONDS
from functions.messaging.domain import conversation, push
from functions.messaging.domain import progress as progress_domain
from functions.messaging.domain.connections import (
    KEPT_SECONDS,
    MAX_SHARDS,
    MAX_USER_CONNECTIONS,
    SHARD_FILL,
    grown,
    shard_of,
)
from functions.messaging.domain.push import Pushed
from servicekit.audit import AuditUnavailableError
from servicekit.errors import StoreUnavailableError
from tests.fakes.messaging_realtime import Realtime

pytestmark = pytest.mark.anyio

TOPIC = "job:1"


@pytest.fixture
def live() -> Realtime:
    return Realtime()


@pytest.fixture
def hasty(monkeypatch):
    """Pushes and answers end soon."""
    monkeypatch.setattr(progress_domain, "PUSH_SECONDS", 0.05)
    monkeypatch.setattr(conversation, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(conversation, "_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(push, "_FIRST_PAUSE_SECONDS", 0.001)


async def refused(live: Realtime, secret: str | None) -> None:
    query = None if secret is None else {"ticket": secret}
    assert await live.event("CONNECT", "c", queryStringParameters=query) == 401
    assert await live.table.get("c") is None


async def test_a_ticket_is_kept_as_a_hash_and_recorded_without_itself(live):
    issued = await live.tickets.issue([TOPIC, "project:7"], 3)
    assert issued.secret not in repr(live.table.tickets)
    (event,) = live.outbox.events
    assert issued.secret not in json.dumps(event)
    assert (event["action"], event["user_id"]) == ("messaging.ticket.create", 3)
    assert event["metadata"]["topics"] == [TOPIC, "project:7"]


async def test_what_cannot_be_recorded_is_not_issued(live):
    live.outbox.failing = True
    with pytest.raises(AuditUnavailableError):
        await live.tickets.issue([TOPIC], None)
    assert live.table.tickets == {}


async def test_of_two_that_use_a_ticket_at_once_one_is_let_in(live):
    issued = await live.tickets.issue([TOPIC], None)
    query = {"ticket": issued.secret}
    statuses = await asyncio.gather(
        *(live.event("CONNECT", f"c{n}", queryStringParameters=query) for n in range(5))
    )
    assert Counter(statuses) == {200: 1, 401: 4}
    assert len(live.table.connections) == 1


@pytest.mark.parametrize("secret", [None, "", "short", "x" * 43, "é" * 43, "x" * 4000])
async def test_no_ticket_and_a_forged_one_are_refused_alike(live, secret):
    await live.tickets.issue([TOPIC], None)
    await refused(live, secret)


async def test_a_ticket_is_good_for_a_minute_by_the_clock(live):
    issued = await live.tickets.issue([TOPIC], None)
    live.clock.pass_seconds(TICKET_SECONDS)
    await refused(live, issued.secret)


async def test_a_ticket_that_is_refused_is_in_no_log(live, caplog):
    caplog.set_level(logging.DEBUG)
    issued = await live.tickets.issue([TOPIC], None)
    await live.connect("a", TOPIC)
    live.clock.pass_seconds(TICKET_SECONDS)
    await refused(live, issued.secret)
    assert issued.secret not in caplog.text


async def test_a_person_has_so_many_connections(live):
    for n in range(MAX_USER_CONNECTIONS):
        await live.connect(f"c{n}", TOPIC, user_id=3, settled=False)
    issued = await live.tickets.issue([TOPIC], 3)
    query = {"ticket": issued.secret}
    assert await live.event("CONNECT", "more", queryStringParameters=query) == 429
    await live.connect("another", TOPIC, user_id=4, settled=False)
    assert await live.event("DISCONNECT", "c0") == 200
    assert await live.event("CONNECT", "more", queryStringParameters=query) == 200


async def test_progress_reaches_who_follows_the_topic_and_nobody_else(live):
    await live.connect("a", TOPIC)
    await live.connect("b", "job:2")
    posted = await live.post(TOPIC, 1)
    assert (posted.sequence, posted.pushed) == (1, Pushed(pushed=1))
    assert live.sockets.heard["a"] == [
        {
            "type": "progress",
            "topic": TOPIC,
            "sequence": 1,
            "at": live.clock().isoformat().replace("+00:00", "Z"),
            "data": {"n": 1},
            "terminal": False,
        }
    ]
    assert live.numbers("b") == []


async def test_a_closed_connection_is_forgotten(live):
    await live.connect("a", TOPIC, "project:7", user_id=3)
    await live.connect("b", TOPIC)
    live.sockets.open.discard("a")
    assert (await live.post(TOPIC, 1)).pushed == Pushed(pushed=1, gone=1)
    assert (await live.post("project:7", 2)).pushed == Pushed()
    assert await live.table.of_user(3, 10) == 0


async def test_a_connection_that_is_not_open_yet_is_not_forgotten(live):
    await live.connect("a", TOPIC, settled=False)
    live.sockets.open.discard("a")
    assert (await live.post(TOPIC, 1)).pushed == Pushed(late=1)
    live.sockets.open.add("a")
    assert [f["type"] for f in await live.say("a", action="resume", topic=TOPIC, after=0)] == [
        "progress",
        "resumed",
    ]
    assert (await live.post(TOPIC, 2)).pushed == Pushed(pushed=1)


async def test_what_is_throttled_is_sent_again(live, hasty, monkeypatch):
    monkeypatch.setattr(progress_domain, "PUSH_SECONDS", 30.0)
    await live.connect("a", TOPIC)
    live.sockets.throttled["a"] = 3
    assert (await live.post(TOPIC, 1)).pushed == Pushed(pushed=1)
    assert live.numbers("a") == [1]


async def test_slow_connections_hold_up_nobody_for_longer_than_the_deadline(live, hasty):
    for name in "abc":
        await live.connect(name, TOPIC)
    live.sockets.hanging = {"a"}
    live.sockets.throttled["b"] = 10_000_000
    assert (await live.post(TOPIC, 1)).pushed == Pushed(pushed=1, late=2)
    assert live.numbers("c") == [1]
    # The message is in the log all the same.
    live.sockets.hanging.clear()
    await live.say("a", action="resume", topic=TOPIC, after=0)
    assert live.numbers("a") == [1]


async def test_what_api_gateway_will_never_take_is_not_tried_again(live):
    await live.connect("a", TOPIC)
    live.sockets.forbidden = True
    assert (await live.post(TOPIC, 1)).pushed == Pushed(late=1)
    assert await live.say("a", action="ping") == []
    assert live.sockets.calls == 2


async def test_a_repetition_keeps_its_sequence_and_is_pushed_again(live):
    await live.connect("a", TOPIC)
    first = await live.post(TOPIC, 1, event_id="e")
    assert (await live.post(TOPIC, 1, event_id="e")).sequence == first.sequence == 1
    assert [frame["sequence"] for frame in live.sockets.heard["a"]] == [1, 1]
    assert (await live.post(TOPIC, 2)).sequence == 2


async def test_messages_of_a_batch_keep_their_order(live):
    await live.connect("a", TOPIC, "job:2")
    news = [
        progress_domain.NewMessage(topic=topic, data=json.dumps({"n": n}))
        for n in range(10)
        for topic in (TOPIC, "job:2")
    ]
    results = await live.progress.post_all(news)
    assert [one.topic for one in results] == [new.topic for new in news]
    assert [one.sequence for one in results] == [n for n in range(1, 11) for _ in range(2)]


async def test_one_that_fails_of_a_batch_leaves_the_others(live):
    await live.post(TOPIC, 1, event_id="e")
    news = [
        progress_domain.NewMessage(topic=TOPIC, data='{"n":2}', event_id="e"),
        progress_domain.NewMessage(topic=TOPIC, data='{"n":3}'),
    ]
    refused_one, posted = await live.progress.post_all(news)
    assert refused_one.status == 409
    assert posted.sequence == 2


async def test_a_resume_brings_what_was_missed_in_order_and_says_so(live):
    await live.connect("a", TOPIC)
    for n in range(1, 6):
        await live.post(TOPIC, n)
    frames = await live.say("a", action="resume", topic=TOPIC, after=2)
    assert [frame.get("sequence") for frame in frames] == [3, 4, 5, 5]
    assert frames[-1] == {"type": "resumed", "topic": TOPIC, "sequence": 5, "more": False}
    assert await live.say("a", action="resume", topic=TOPIC) == [frames[-1]]


async def test_a_long_resume_comes_in_pages(live, monkeypatch):
    monkeypatch.setattr(conversation, "RESUME_PAGE", 2)
    await live.connect("a", TOPIC)
    for n in range(1, 4):
        await live.post(TOPIC, n)
    live.sockets.heard["a"].clear()
    frames = await live.say("a", action="resume", topic=TOPIC, after=0)
    assert frames[-1] == {"type": "resumed", "topic": TOPIC, "sequence": 2, "more": True}
    frames = await live.say("a", action="resume", topic=TOPIC, after=2)
    assert frames[-1] == {"type": "resumed", "topic": TOPIC, "sequence": 3, "more": False}
    assert live.numbers("a") == [1, 2, 3]


@pytest.mark.parametrize(
    ("kept", "after", "expected"),
    [
        ({4, 5}, 1, [("gap", 3), ("progress", 4), ("progress", 5), ("resumed", 5)]),
        ({2, 5}, 1, [("progress", 2), ("gap", 4), ("progress", 5), ("resumed", 5)]),
        (set(), 1, [("gap", 5), ("resumed", 5)]),
        ({4, 5}, 5, [("resumed", 5)]),
        # The topic began anew: the client is ahead of it.
        ({4, 5}, 9, [("gap", 3), ("progress", 4), ("progress", 5), ("resumed", 5)]),
        (set(), 9, [("gap", 5), ("resumed", 5)]),
    ],
)
async def test_what_the_log_no_longer_has_is_a_gap(live, kept, after, expected):
    await live.connect("a", TOPIC)
    for n in range(1, 6):
        await live.post(TOPIC, n)
    live.table.log[TOPIC] = [one for one in live.table.log[TOPIC] if one.sequence in kept]
    frames = await live.say("a", action="resume", topic=TOPIC, after=after)
    assert [(frame["type"], frame["sequence"]) for frame in frames] == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "malformed_message"),
        ("{", "malformed_message"),
        ("[]", "malformed_message"),
        ('{"action": "shout"}', "malformed_message"),
        ('{"action": {"a": 1}}', "malformed_message"),
        ('{"action": "resume"}', "malformed_message"),
        ('{"action": "resume", "topic": "job:1", "after": -1}', "malformed_message"),
        ('{"action": "resume", "topic": "job:1", "after": true}', "malformed_message"),
        ('{"action": "resume", "topic": "job:1", "after": 1e400}', "malformed_message"),
        ('{"action": "resume", "topic": "job:2", "after": 1}', "topic_not_granted"),
        ('{"action": "subscribe", "topic": "job:2"}', "topic_not_granted"),
        ('{"action": "ping", "x": "%s"}' % ("é" * MAX_CLIENT_MESSAGE_BYTES), "message_too_large"),
        ("[" * 1000, "malformed_message"),
    ],
)
async def test_nonsense_is_answered_with_an_error(live, text, code):
    await live.connect("a", TOPIC)
    assert await live.event("MESSAGE", "a", body=text) == 200
    (frame,) = live.sockets.heard["a"]
    assert (frame["type"], frame["code"]) == ("error", code)


async def test_a_binary_message_is_nonsense(live):
    await live.connect("a", TOPIC)
    assert await live.event("MESSAGE", "a", body="AAAA", isBase64Encoded=True) == 200
    assert live.sockets.heard["a"][0]["code"] == "malformed_message"


async def test_a_ping_is_answered(live):
    await live.connect("a", TOPIC)
    assert await live.say("a", action="ping") == [{"type": "pong"}]


async def test_a_connection_that_is_forgotten_is_told_so(live):
    live.sockets.open.add("x")
    frames = await live.say("x", action="resume", topic=TOPIC, after=0)
    assert frames[0]["code"] == "not_connected"


async def test_topics_of_the_ticket_are_left_and_joined_again(live):
    await live.connect("a", TOPIC)
    assert await live.say("a", action="unsubscribe", topic=TOPIC) == [
        {"type": "unsubscribed", "topic": TOPIC}
    ]
    assert (await live.post(TOPIC, 1)).pushed == Pushed()
    assert await live.say("a", action="subscribe", topic=TOPIC) == [
        {"type": "subscribed", "topic": TOPIC}
    ]
    assert (await live.post(TOPIC, 2)).pushed == Pushed(pushed=1)


async def test_a_table_that_fails_is_an_error_frame(live, monkeypatch):
    async def fail(*arguments: object) -> None:
        raise StoreUnavailableError

    await live.connect("a", TOPIC)
    monkeypatch.setattr(live.table, "get", fail)
    (frame,) = await live.say("a", action="resume", topic=TOPIC, after=0)
    assert frame["code"] == "failed"


async def test_a_client_that_is_gone_or_hangs_harms_nobody(live, hasty):
    await live.connect("a", TOPIC)
    live.sockets.open.discard("a")
    assert await live.say("a", action="ping") == []
    live.sockets.hanging.add("a")
    assert await live.say("a", action="ping") == []


def test_shards_fill_alike():
    counts = Counter(shard_of(f"connection-{n}", 16) for n in range(16_000))
    assert set(counts) == set(range(16))
    assert max(counts.values()) < 1.2 * min(counts.values())


def test_a_full_shard_doubles_them_up_to_a_bound():
    assert grown(1, SHARD_FILL) == 1
    assert grown(1, SHARD_FILL + 1) == 2
    assert grown(MAX_SHARDS, SHARD_FILL + 1) == MAX_SHARDS


async def test_thousands_of_connections_hear_each_message_once(live):
    count = 5_000
    for n in range(count):
        await live.connect(f"c{n}", TOPIC, settled=False)
    live.clock.pass_seconds(31)
    shards = (await live.table.shards([TOPIC]))[TOPIC]
    assert 8 <= shards <= MAX_SHARDS
    live.sockets.open -= {f"c{n}" for n in range(100)}

    posted = await live.post(TOPIC, 1)
    assert posted.pushed == Pushed()
    orders = live.functions.orders
    assert posted.handed_on == len(orders) <= progress_domain.FUNCTIONS_AT_ONCE
    assert [n for order in orders for n in range(order.first_shard, order.end_shard)] == list(
        range(shards)
    )
    deadline = asyncio.get_running_loop().time() + 60
    done = sum([await live.pusher.run(order, deadline) for order in orders], Pushed())
    assert done == Pushed(pushed=count - 100, gone=100)
    assert all(live.numbers(name) == [1] for name in live.sockets.open)
    assert live.sockets.most_at_once <= push.AT_ONCE


async def test_a_push_that_is_killed_is_done_again_and_sorted_by_sequence(live):
    for n in range(300):
        await live.connect(f"c{n:03}", TOPIC, settled=False)
    live.table.shard_counts[TOPIC] = 4
    await live.post(TOPIC, 1)
    order = live.functions.orders[0]
    loop = asyncio.get_running_loop()
    killed = asyncio.create_task(live.pusher.run(order, loop.time() + 60))
    while live.sockets.calls < 40:  # noqa: ASYNC110 - at some point in the middle
        await asyncio.sleep(0)
    killed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await killed
    for one in live.functions.orders:
        await live.pusher.run(one, loop.time() + 60)
    heard = [[f["sequence"] for f in live.sockets.heard[n]] for n in live.sockets.open]
    assert all(set(sequences) == {1} for sequences in heard)


async def test_a_push_that_is_not_handed_on_is_told(live, caplog):
    await live.connect("a", TOPIC)
    live.table.shard_counts[TOPIC] = 8
    live.functions.refusing = True
    assert (await live.post(TOPIC, 1)).handed_on == 0
    assert "pushes not handed on" in caplog.text


async def test_what_is_older_than_a_connection_can_be_is_not_counted(live):
    await live.connect("a", TOPIC, user_id=3)
    live.clock.pass_seconds(KEPT_SECONDS)
    assert await live.table.of_user(3, 10) == 0
