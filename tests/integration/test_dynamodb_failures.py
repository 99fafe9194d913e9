"""DynamoDB at its worst: throttled, conflicting, half done."""

import asyncio
import itertools
import json
import threading
import time
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from functions.ai.adapters import dynamodb as sessions_adapter
from functions.ai.bootstrap import dynamodb_storage
from functions.ai.domain.errors import SessionBusyError, SessionNotFoundError
from functions.ai.domain.models import Draft, Session, SessionChanges, SessionFilter
from servicekit.clock import utc_now
from servicekit.dynamodb import (
    BATCH_SIZE,
    DynamoCounter,
    DynamoRecords,
    DynamoTable,
    Expression,
    Put,
    TransactionRefusedError,
    Update,
    WriteConflictError,
)
from servicekit.errors import StoreUnavailableError
from servicekit.idempotency import LEASE_SECONDS, Claim, Idempotency, Request
from servicekit.ids import MAX_INTEGER_ID, IdsExhaustedError
from tests.fakes.ai_app import SETTINGS
from tests.integration.conftest import TABLE

pytestmark = pytest.mark.anyio

NEW = Expression("attribute_not_exists(pk)")
WRITERS = 40


class Interference:
    """Answers an operation's next calls in DynamoDB's place."""

    def __init__(self, client: Any, operation: str) -> None:
        self.answers: list[Any] = []
        self.calls = 0
        self.requests: list[dict[str, Any]] = []
        client.meta.events.register(f"before-call.dynamodb.{operation}", self._answer)

    def fail(self, code: str, times: int = 1, **fields: Any) -> None:
        self.answers += [
            (SimpleNamespace(status_code=400), {"Error": {"Code": code}, **fields})
        ] * times

    def cancel(self, *reasons: str, times: int = 1) -> None:
        self.fail(
            "TransactionCanceledException",
            times,
            CancellationReasons=[{"Code": reason} for reason in reasons],
        )

    def _answer(self, params: Any, **_arguments: Any) -> Any:
        self.calls += 1
        self.requests.append(json.loads(params["body"]))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


class Contested:
    """Clients whose transactions take a while, and refuse each other meanwhile as DynamoDB's do.

    The first one takes until a rival was refused, so that there is a conflict on any machine.
    """

    def __init__(self, make: Any) -> None:
        self.conflicts = 0
        self._refused = threading.Event()
        self._in_hand = threading.Lock()
        self._make = make

    def make_client(self) -> Any:
        client = self._make()
        call = client._make_api_call

        def contend(operation: str, arguments: Any) -> Any:
            if operation != "TransactWriteItems":
                return call(operation, arguments)
            if not self._in_hand.acquire(blocking=False):
                self.conflicts += 1
                self._refused.set()
                answer = {
                    "Error": {"Code": "TransactionCanceledException", "Message": ""},
                    "CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "None"}],
                }
                raise ClientError(answer, operation)
            try:
                self._refused.wait(30)
                time.sleep(0.005)
                return call(operation, arguments)
            finally:
                self._in_hand.release()

        client._make_api_call = contend
        return client


@pytest.fixture
def client(make_client):
    return make_client()


@pytest.fixture
def table(client, monkeypatch):
    monkeypatch.setattr("servicekit.dynamodb._FIRST_PAUSE_SECONDS", 0)
    table = DynamoTable(TABLE, lambda: client)
    yield table
    table.close()


@pytest.fixture
def storage(client, monkeypatch):
    monkeypatch.setattr("servicekit.dynamodb._FIRST_PAUSE_SECONDS", 0)
    monkeypatch.setattr("functions.ai.adapters.contention._FIRST_PAUSE_SECONDS", 0)
    storage = dynamodb_storage(SETTINGS, lambda: client)
    yield storage
    storage.close()


def item(name):
    return {"pk": name, "sk": "x"}


def session():
    return Session("s1", 5, 7, 3, None, "bedrock", "m", "active", {}, utc_now())


def draft():
    return Draft(1, "user", "x", utc_now())


@pytest.mark.parametrize(
    "reasons",
    [
        ("TransactionConflict", "None"),
        ("None", "ThrottlingError"),
        ("ProvisionedThroughputExceeded", "TransactionConflict"),
    ],
)
async def test_transactions_that_met_others_are_tried_again(client, table, reasons):
    interference = Interference(client, "TransactWriteItems")
    interference.cancel(*reasons, times=3)
    await table.transact([Put(item("a"), NEW), Put(item("b"), NEW)])
    assert interference.calls == 4
    assert await table.get(item("a")) == item("a")


async def test_tries_of_one_transaction_cannot_both_take_effect(client, table):
    interference = Interference(client, "TransactWriteItems")
    interference.fail("TransactionInProgressException", times=2)
    await table.transact([Put(item("a"), NEW)])
    await table.transact([Put(item("b"), NEW)])
    tokens = [request["ClientRequestToken"] for request in interference.requests]
    assert len(tokens) == 4
    assert len(set(tokens[:3])) == 1
    assert len(set(tokens)) == 2


async def test_single_writes_wait_for_the_transaction_that_has_their_item(client, table):
    for operation in ("PutItem", "UpdateItem", "DeleteItem"):
        Interference(client, operation).fail("TransactionConflictException", times=2)
    there = Expression("attribute_exists(pk)", update="SET n = :n", values={":n": 1})
    await table.put(Put(item("a"), NEW))
    assert (await table.update(Update(item("a"), there)))["n"] == 1
    await table.delete(item("a"), Expression("attribute_exists(pk)"))
    assert await table.get(item("a")) is None
    Interference(client, "PutItem").fail("TransactionConflictException", times=100)
    with pytest.raises(StoreUnavailableError):
        await table.put(Put(item("a"), NEW))


async def test_a_record_whose_first_answer_was_lost_is_still_ones_own(client, table, monkeypatch):
    idempotency = Idempotency(DynamoRecords(table), lambda: now, 3600)
    now = utc_now()
    request = Request("k", "f")
    monkeypatch.setattr("secrets.token_hex", lambda _size: "first")
    assert isinstance(await idempotency.begin(request), Claim)
    assert isinstance(await idempotency.begin(request), Claim)

    now += timedelta(seconds=LEASE_SECONDS + 1)
    monkeypatch.setattr("secrets.token_hex", lambda _size: "second")
    store = DynamoRecords(table)
    claim = await idempotency.begin(request)
    assert isinstance(claim, Claim)
    assert await store.retake(claim.record, "first") == claim.record
    assert await store.retake(replace(claim.record, token="third"), "first") is None


async def test_a_failed_condition_is_not_tried_again(client, table):
    interference = Interference(client, "TransactWriteItems")
    interference.cancel("TransactionConflict", "ConditionalCheckFailed")
    with pytest.raises(TransactionRefusedError) as refused:
        await table.transact([Put(item("a"), NEW), Put(item("b"), NEW)])
    assert refused.value.failed == {1}
    assert interference.calls == 1


async def test_a_writer_that_knows_better_is_told_of_the_first_conflict(client, table):
    interference = Interference(client, "TransactWriteItems")
    interference.fail("TransactionInProgressException")
    interference.cancel("TransactionConflict")
    with pytest.raises(WriteConflictError):
        await table.transact([Put(item("a"), NEW)], attempts=1)
    # Its own transaction in progress is none: that one is asked after until it is decided.
    assert interference.calls == 2
    assert len({request["ClientRequestToken"] for request in interference.requests}) == 1
    assert await table.get(item("a")) is None


async def test_conflicts_without_end_end(client, table):
    interference = Interference(client, "TransactWriteItems")
    interference.fail("TransactionInProgressException", times=100)
    with pytest.raises(StoreUnavailableError):
        await table.transact([Put(item("a"), NEW)])
    assert interference.calls < 10


@pytest.mark.parametrize("reason", ["ValidationError", "ItemCollectionSizeLimitExceeded"])
async def test_a_transaction_refused_for_good_is_not_tried_again(client, table, reason):
    interference = Interference(client, "TransactWriteItems")
    interference.cancel(reason)
    with pytest.raises(StoreUnavailableError):
        await table.transact([Put(item("a"), NEW)])
    assert interference.calls == 1


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "ResourceNotFoundException", "AccessDeniedException"]
)
async def test_what_dynamodb_refuses_is_unavailable_without_its_text(client, table, code):
    Interference(client, "GetItem").fail(code)
    with pytest.raises(StoreUnavailableError) as failure:
        await table.get(item("a"))
    assert failure.value.detail is None
    assert failure.value.headers == {"Retry-After": "1"}


async def test_no_connection_is_unavailable(client, table):
    Interference(client, "GetItem").answers = [EndpointConnectionError(endpoint_url="secret")]
    with pytest.raises(StoreUnavailableError):
        await table.get(item("a"))


async def test_what_a_batch_leaves_over_is_tried_again(client, table):
    keys = [item(str(n)) for n in range(BATCH_SIZE + 5)]
    for key in keys:
        await table.put(Put(key, NEW))
    interference = Interference(client, "BatchWriteItem")
    left = [{"DeleteRequest": {"Key": {"pk": {"S": "0"}, "sk": {"S": "x"}}}}]
    interference.answers = [
        None,
        (SimpleNamespace(status_code=200), {"UnprocessedItems": {TABLE: left}}),
    ]
    await table.put(Put(item("kept"), NEW))
    await table.write_batch(deletes=keys)
    assert interference.calls == 3
    assert await table.get(item("0")) is None
    assert await table.get(item("kept")) is not None


async def test_a_batch_that_never_gets_through_says_so(client, table):
    interference = Interference(client, "BatchWriteItem")
    left = [{"DeleteRequest": {"Key": {"pk": {"S": "0"}, "sk": {"S": "x"}}}}]
    interference.answers = [
        (SimpleNamespace(status_code=200), {"UnprocessedItems": {TABLE: left}})
    ] * 100
    with pytest.raises(StoreUnavailableError):
        await table.write_batch(deletes=[item("0")])


async def test_the_counter_stops_at_the_last_id(table):
    counter = DynamoCounter(table, MAX_INTEGER_ID - 150)
    assert await counter.draw("session", 100) == MAX_INTEGER_ID - 149
    for _ in range(2):
        with pytest.raises(IdsExhaustedError):
            await counter.draw("session", 100)
    assert await counter.draw("session", 50) == MAX_INTEGER_ID - 49


@pytest.mark.parametrize("reason", ["ConditionalCheckFailed", "TransactionConflict"])
async def test_a_session_that_others_write_to_without_end_is_busy(
    client, storage, monkeypatch, reason
):
    stored, _ = await storage.sessions.create(session(), [], None)
    others = Interference(client, "TransactWriteItems")
    others.cancel(reason, "None", times=100_000)
    monkeypatch.setattr("functions.ai.adapters.dynamodb._PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr("functions.ai.adapters.dynamodb._PATIENCE_OF_ANSWERS_SECONDS", 0.4)
    for only_active, patience in ((True, 0.2), (False, 0.4)):
        began = time.monotonic()
        with pytest.raises(SessionBusyError):
            await storage.sessions.append(stored, draft(), None, only_active=only_active)
        assert time.monotonic() - began >= patience


@pytest.mark.parametrize("reason", ["ConditionalCheckFailed", "TransactionConflict"])
async def test_a_message_is_stored_however_often_others_were_faster(client, storage, reason):
    stored, _ = await storage.sessions.create(session(), [], None)
    others = Interference(client, "TransactWriteItems")
    others.cancel(reason, "None", times=40)
    _, message = await storage.sessions.append(stored, draft(), None, only_active=True)
    assert message.sequence == 1
    assert others.calls == 41


async def test_many_writers_of_one_session_lose_nothing(make_client, monkeypatch):
    """Each with connections of its own, as each instance of a function has."""
    # moto copies every table for each transaction: on a busy machine that takes longer.
    for patience in ("_PATIENCE_SECONDS", "_PATIENCE_OF_ANSWERS_SECONDS"):
        monkeypatch.setattr(sessions_adapter, patience, 120.0)
    contested = Contested(make_client)
    rivals = [dynamodb_storage(SETTINGS, contested.make_client) for _ in range(WRITERS)]
    numbers = itertools.count(1)
    alone = dynamodb_storage(SETTINGS, make_client)
    stored, _ = await alone.sessions.create(session(), [], None)

    async def turn(rival):
        for only_active in (True, False):
            message = replace(draft(), number=next(numbers))
            await rival.sessions.append(stored, message, None, only_active=only_active)

    try:
        await asyncio.gather(*(turn(rival) for rival in rivals))
        messages = [m async for m in alone.sessions.messages(stored)]
        end = await alone.sessions.get("s1")
    finally:
        for each in (alone, *rivals):
            each.close()
    assert [m.sequence for m in messages] == list(range(1, 2 * WRITERS + 1))
    assert {m.draft.number for m in messages} == set(range(1, 2 * WRITERS + 1))
    assert end.next_sequence == 2 * WRITERS + 1
    # How many is the machine's affair; without any the test would show nothing.
    assert contested.conflicts > 0


@pytest.mark.parametrize("operation", ["Query", "BatchWriteItem", "DeleteItem"])
async def test_a_deletion_that_crashes_on_the_way_shows_nothing_and_can_be_repeated(
    client, storage, table, operation
):
    stored, _ = await storage.sessions.create(session(), [draft() for _ in range(3)], None)
    Interference(client, operation).fail("InternalServerError")
    with pytest.raises(StoreUnavailableError):
        await storage.sessions.delete("s1")
    assert await storage.sessions.get("s1") is None
    page = await storage.sessions.list_sessions(SessionFilter(7, None), 10, None)
    assert page.sessions == []
    for write in (
        storage.sessions.change("s1", SessionChanges({"status": "active"}, utc_now())),
        storage.sessions.append(stored, draft(), None, only_active=False),
    ):
        with pytest.raises(SessionNotFoundError):
            await write
    await storage.sessions.delete("s1")
    assert [m async for m in storage.sessions.messages(stored)] == []
    assert await table.get({"pk": "SESSION#s1", "sk": "SESSION"}) is None


async def test_a_rare_project_among_a_users_sessions_is_found_in_few_reads(client, storage):
    for n in range(60):
        await storage.sessions.create(
            replace(session(), session_id=f"s{n:02}", project_id=8 if n == 0 else 7), [], None
        )
    queries = Interference(client, "Query")
    page = await storage.sessions.list_sessions(SessionFilter(8, 3), 1, None)
    assert [found.session_id for found in page.sessions] == ["s00"]
    assert page.next_position is None
    assert queries.calls == 1


async def test_a_long_session_is_deleted_page_by_page(client, storage):
    large = replace(draft(), content="x" * 200_000)
    stored, _ = await storage.sessions.create(session(), [large] * 12, None)
    queries = Interference(client, "Query")
    await storage.sessions.delete("s1")
    assert queries.calls > 1
    assert [m async for m in storage.sessions.messages(stored)] == []


async def test_sessions_and_messages_are_read_as_they_were_just_written(client, storage):
    stored, _ = await storage.sessions.create(session(), [draft()], None)
    gets, queries = Interference(client, "GetItem"), Interference(client, "Query")
    await storage.sessions.get("s1")
    assert [m async for m in storage.sessions.messages(stored)]
    await storage.sessions.list_sessions(SessionFilter(7, None), 10, None)
    assert [read["ConsistentRead"] for read in gets.requests] == [True]
    # An index cannot be read so; DynamoDB refuses the wish.
    assert [read["ConsistentRead"] for read in queries.requests] == [True, False]


async def test_a_crash_within_the_transaction_stores_neither_message_nor_sequence(client, storage):
    stored, _ = await storage.sessions.create(session(), [], None)
    Interference(client, "TransactWriteItems").fail("InternalServerError")
    with pytest.raises(StoreUnavailableError):
        await storage.sessions.append(stored, draft(), None, only_active=True)
    assert await storage.sessions.get("s1") == stored
    _, message = await storage.sessions.append(stored, draft(), None, only_active=True)
    assert message.sequence == 1


async def test_updates_return_what_is_stored(table):
    await table.put(Put({**item("a"), "n": 1, "b": True, "z": None}, NEW))
    change = Expression("attribute_exists(pk)", update="SET n = n + :one", values={":one": 2})
    assert await table.update(Update(item("a"), change)) == {
        **item("a"),
        "n": 3,
        "b": True,
        "z": None,
    }
