"""Live progress over DynamoDB, and over API Gateway's management API as it fails."""

import asyncio
import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from botocore.session import get_session
from botocore.stub import Stubber

from contracts.messaging.progress import TICKET_SECONDS
from functions.messaging.adapters.connections_api import ConnectionsApi
from functions.messaging.adapters.dynamodb_connections import DynamoConnections
from functions.messaging.adapters.dynamodb_progress import HEAD_KEPT, KEPT, DynamoProgress
from functions.messaging.adapters.dynamodb_tickets import DynamoTickets
from functions.messaging.adapters.push_function import PushFunction, order_from
from functions.messaging.domain.connections import KEPT_SECONDS, SHARD_FILL
from functions.messaging.domain.progress import NewMessage
from functions.messaging.domain.progress_errors import ProgressConflictError
from functions.messaging.domain.push import Pushed, PushOrder
from functions.messaging.domain.sockets import (
    ConnectionBusyError,
    ConnectionGoneError,
    SendingFailedError,
)
from functions.messaging.domain.tickets import digest_of
from servicekit.dynamodb import DynamoTable
from servicekit.errors import StoreUnavailableError
from tests.fakes.messaging_realtime import Realtime

pytestmark = pytest.mark.anyio

TOPIC = "job:1"


@pytest.fixture(params=["memory", "dynamodb"])
def live(request) -> Realtime:
    """The same tests hold for the fake and for the real adapters."""
    live = Realtime()
    if request.param == "dynamodb":
        table = request.getfixturevalue("table")
        connections = DynamoConnections(table, live.clock)
        live.wire(DynamoTickets(table), connections, DynamoProgress(table, live.clock))
        live.table = connections
    return live


@pytest.fixture
def log(table) -> DynamoProgress:
    return DynamoProgress(table, Realtime().clock)


def message(number: int, topic: str = TOPIC, **fields: Any) -> NewMessage:
    return NewMessage(topic=topic, data=json.dumps({"n": number}), **fields)


async def everything(table: DynamoTable, pk: str) -> list[dict[str, Any]]:
    return list((await table.query("pk = :pk", {":pk": pk})).items)


async def test_of_two_that_use_a_ticket_at_once_one_is_let_in(live):
    issued = await live.tickets.issue([TOPIC, "user:3"], 3)
    query = {"ticket": issued.secret}
    statuses = await asyncio.gather(
        *(live.event("CONNECT", f"c{n}", queryStringParameters=query) for n in range(6))
    )
    assert Counter(statuses) == {200: 1, 401: 5}
    for topic in (TOPIC, "user:3"):
        assert len((await live.table.members(topic, 0, 10)).members) == 1
    assert await live.table.of_user(3, 10) == 1


async def test_a_ticket_is_good_for_a_minute_by_the_clock(live):
    issued = await live.tickets.issue([TOPIC], None)
    live.clock.pass_seconds(TICKET_SECONDS - 1)
    query = {"ticket": issued.secret}
    assert await live.event("CONNECT", "a", queryStringParameters=query) == 200
    issued = await live.tickets.issue([TOPIC], None)
    live.clock.pass_seconds(TICKET_SECONDS)
    query = {"ticket": issued.secret}
    assert await live.event("CONNECT", "b", queryStringParameters=query) == 401


async def test_a_connection_follows_leaves_and_is_forgotten(live):
    await live.connect("a", TOPIC, "project:7", user_id=3)
    await live.say("a", action="unsubscribe", topic=TOPIC)
    assert (await live.post(TOPIC, 1)).pushed == Pushed()
    await live.say("a", action="subscribe", topic=TOPIC)
    assert (await live.post(TOPIC, 2)).pushed == Pushed(pushed=1)
    assert (await live.post("project:7", 3)).pushed == Pushed(pushed=1)
    for _ in range(2):
        assert await live.event("DISCONNECT", "a") == 200
    assert await live.table.get("a") is None
    assert (await live.post(TOPIC, 4)).pushed == Pushed()
    assert await live.table.of_user(3, 10) == 0


async def test_what_is_gone_is_removed_where_it_is_met(live):
    await live.connect("a", TOPIC, "project:7", user_id=3)
    live.sockets.open.clear()
    assert (await live.post(TOPIC, 1)).pushed == Pushed(gone=1)
    assert (await live.post("project:7", 1)).pushed == Pushed()
    assert await live.table.of_user(3, 10) == 0


async def test_resume_is_whole_and_in_order(live):
    await live.connect("a", TOPIC)
    for n in range(1, 12):
        await live.post(TOPIC, n)
    live.sockets.heard["a"].clear()
    frames = await live.say("a", action="resume", topic=TOPIC, after=8)
    assert [(f["type"], f["sequence"]) for f in frames] == [
        ("progress", 9),
        ("progress", 10),
        ("progress", 11),
        ("resumed", 11),
    ]
    assert live.numbers("a") == [9, 10, 11]


async def test_a_repetition_has_its_sequence_and_another_message_is_a_conflict(live):
    posted = [(await live.post(TOPIC, 1, event_id="e")).sequence for _ in range(2)]
    assert posted == [1, 1]
    with pytest.raises(ProgressConflictError):
        await live.post(TOPIC, 2, event_id="e")
    assert (await live.post("job:2", 2, event_id="e")).sequence == 1
    assert (await live.post(TOPIC, 3)).sequence == 2


async def test_posters_at_once_leave_no_gap(table):
    clock = Realtime().clock
    posters = [DynamoProgress(table, clock) for _ in range(2)]
    posted = await asyncio.gather(*(posters[n % 2].append(message(n)) for n in range(20)))
    assert sorted(one.sequence for one in posted) == list(range(1, 21))
    kept = await posters[0].after(TOPIC, 0, 100)
    assert [one.sequence for one in kept] == list(range(1, 21))
    by_sequence = {one.sequence: one.data for one in posted}
    assert {one.sequence: one.data for one in kept} == by_sequence
    assert await posters[1].head(TOPIC) == 20


async def test_one_event_posted_by_two_at_once_is_one_message(table):
    clock = Realtime().clock
    posters = [DynamoProgress(table, clock) for _ in range(4)]
    posted = await asyncio.gather(*(one.append(message(1, event_id="e")) for one in posters))
    assert {one.sequence for one in posted} == {1}
    assert await posters[0].head(TOPIC) == 1


async def test_a_message_is_kept_for_a_day_and_the_count_for_longer(table):
    live = Realtime()
    log = DynamoProgress(table, live.clock)
    await log.append(message(1))
    live.clock.pass_seconds(KEPT.total_seconds() - 1)
    assert [one.sequence for one in await log.after(TOPIC, 0, 10)] == [1]
    live.clock.pass_seconds(1)
    # The table's TTL may be days late: the clock tells.
    assert await log.after(TOPIC, 0, 10) == []
    assert (await DynamoProgress(table, live.clock).append(message(2))).sequence == 2
    items = {item["sk"]: item for item in await everything(table, f"PROGRESS#{TOPIC}")}
    ends = live.clock() + HEAD_KEPT
    assert items["HEAD"]["expires_at"] == int(ends.timestamp())


async def test_a_topic_that_was_forgotten_begins_anew(table, log):
    for n in range(3):
        await log.append(message(n))
    for item in await everything(table, f"PROGRESS#{TOPIC}"):
        await table.write_batch(deletes=[{"pk": item["pk"], "sk": item["sk"]}])
    # This process still believes that it knows how far the topic is.
    assert (await log.append(message(9))).sequence == 1


async def test_a_log_that_others_keep_busy_is_a_503(table, log, monkeypatch):
    monkeypatch.setattr("functions.messaging.adapters.dynamodb_progress._PATIENCE_SECONDS", 0.05)

    async def moved(new: NewMessage) -> None:
        from functions.messaging.adapters.dynamodb_progress import _MovedError

        raise _MovedError

    monkeypatch.setattr(log, "_append", moved)
    with pytest.raises(StoreUnavailableError):
        await log.append(message(2))


async def test_a_topic_that_fills_gets_shards_and_every_follower_is_found(table, monkeypatch):
    monkeypatch.setattr("functions.messaging.domain.connections.SHARD_FILL", 4)
    monkeypatch.setattr("functions.messaging.domain.conversation.SHARD_FILL", 4)
    live = Realtime()
    connections = DynamoConnections(table, live.clock)
    live.wire(DynamoTickets(table), connections, DynamoProgress(table, live.clock))
    for n in range(40):
        await live.connect(f"c{n}", TOPIC, settled=False)
    shards = (await connections.shards([TOPIC, "job:2"]))[TOPIC]
    assert shards > 2
    assert (await connections.shards([TOPIC, "job:2"]))["job:2"] == 1
    posted = await live.post(TOPIC, 1)
    assert posted.handed_on == len(live.functions.orders)
    deadline = asyncio.get_running_loop().time() + 60
    done = sum([await live.pusher.run(o, deadline) for o in live.functions.orders], Pushed())
    assert done == Pushed(pushed=40)
    assert all(live.numbers(f"c{n}") == [1] for n in range(40))
    # Of two that find the shard full, one makes the shards.
    await connections.grow(TOPIC, shards // 2, 64)
    assert (await connections.shards([TOPIC]))[TOPIC] == shards


async def test_pages_of_a_shard_hold_everybody_once(table):
    live = Realtime()
    connections = DynamoConnections(table, live.clock)
    live.wire(DynamoTickets(table), connections, DynamoProgress(table, live.clock))
    for n in range(7):
        await live.connect(f"c{n}", TOPIC, settled=False)
    found, start = [], None
    while True:
        page = await connections.members(TOPIC, 0, 3, start)
        found += [member.connection_id for member in page.members]
        start = page.next
        if start is None:
            break
    assert found == [f"c{n}" for n in range(7)]
    assert await connections.fill(TOPIC, 0, SHARD_FILL) == 7
    live.clock.pass_seconds(KEPT_SECONDS)
    assert (await connections.members(TOPIC, 0, 10)).members == []
    assert await connections.fill(TOPIC, 0, SHARD_FILL) == 0


async def test_the_table_holds_no_ticket(table):
    live = Realtime()
    live.wire(DynamoTickets(table), DynamoConnections(table, live.clock), live.table)
    issued = await live.tickets.issue([TOPIC], 3)
    items = await everything(table, f"TICKET#{digest_of(issued.secret)}")
    assert len(items) == 1
    assert issued.secret not in json.dumps(items)
    ends = issued.ticket.valid_until + timedelta(hours=1)
    assert items[0]["expires_at"] == int(ends.timestamp())


@pytest.fixture
def management(make_client):
    """The adapter, and a stub of what API Gateway answers."""
    client = get_session().create_client(
        "apigatewaymanagementapi", endpoint_url="https://api.test/live"
    )
    api = ConnectionsApi("https://api.test/live", lambda: client)
    with Stubber(client) as stub:
        yield api, stub
    api.close()


async def test_a_frame_is_posted_to_its_connection(management):
    api, stub = management
    stub.add_response("post_to_connection", {}, {"ConnectionId": "c", "Data": b'{"a":"\xc3\xa9"}'})
    await api.send("c", '{"a":"é"}')
    stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("GoneException", 410, ConnectionGoneError),
        ("410", 410, ConnectionGoneError),
        ("LimitExceededException", 429, ConnectionBusyError),
        ("TooManyRequestsException", 429, ConnectionBusyError),
        ("InternalServerError", 500, ConnectionBusyError),
        ("ForbiddenException", 403, SendingFailedError),
        ("PayloadTooLargeException", 413, SendingFailedError),
    ],
)
async def test_what_api_gateway_refuses(management, caplog, code, status, error):
    api, stub = management
    stub.add_client_error("post_to_connection", code, "words", status)
    with pytest.raises(error):
        await api.send("c", "{}")
    assert ("message not sent" in caplog.text) == (error is SendingFailedError)
    assert "words" not in [record.getMessage() for record in caplog.records]


@pytest.mark.enable_socket
async def test_an_address_where_nobody_answers_is_busy(make_client):
    api = ConnectionsApi("http://127.0.0.1:9/live")
    with pytest.raises(ConnectionBusyError):
        await api.send("c", "{}")
    api.close()


async def test_an_order_is_handed_on_as_an_event(make_client):
    client = get_session().create_client("lambda")
    order = PushOrder(TOPIC, 4, 8, '{"a":"é"}')
    with Stubber(client) as stub:
        expected = {"FunctionName": "push", "InvocationType": "Event", "Payload": _Order(order)}
        stub.add_response("invoke", {"StatusCode": 202}, expected)
        stub.add_client_error("invoke", "TooManyRequestsException", "words", 429)
        function = PushFunction("push", lambda: client)
        assert await function.hand_on(order)
        assert not await function.hand_on(order)


class _Order:
    """Equal to the payload of its order."""

    def __init__(self, order: PushOrder) -> None:
        self.order = order

    def __eq__(self, payload: object) -> bool:
        assert isinstance(payload, bytes)
        return order_from(json.loads(payload)) == self.order

    __hash__ = None  # type: ignore[assignment]
