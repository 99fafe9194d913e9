"""The audit outbox on DynamoDB: whatever happens, numbers have no gap and fit the counter."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from servicekit.audit import AuditEntry, AuditTrail, AuditUnavailableError
from servicekit.audit_outbox import (
    SHARDS,
    DynamoOutbox,
    DynamoOutboxReader,
    OutboxItem,
    items_of_stream,
)
from servicekit.dynamodb import DynamoTable, to_attributes
from tests.integration.conftest import TABLE
from tests.integration.test_dynamodb_failures import Contested, Interference

pytestmark = pytest.mark.anyio

SERVICE = "ai"
RECORDERS = 50


class Outboxes:
    """Processes that share the table: each has an outbox and a memory of its own."""

    def __init__(self) -> None:
        self.tables: list[DynamoTable] = []

    def open(self, make: Callable[[], Any]) -> DynamoOutbox:
        self.tables.append(DynamoTable(TABLE, make))
        return DynamoOutbox(self.tables[-1], SERVICE)

    def close(self) -> None:
        for table in self.tables:
            table.close()


@pytest.fixture
def outboxes():
    outboxes = Outboxes()
    yield outboxes
    outboxes.close()


@pytest.fixture
def one_shard(monkeypatch):
    """All writers meet."""
    monkeypatch.setattr("servicekit.audit_outbox.SHARDS", 1)


@pytest.fixture
def patient(monkeypatch):
    """The table of these tests serves one call at a time."""
    monkeypatch.setattr("servicekit.audit_outbox._PATIENCE_SECONDS", 120.0)


def entry(**fields: Any) -> AuditEntry:
    wanted = {"event_type": "user_action", "resource": "r", "action": "a", "outcome": "allowed"}
    return AuditEntry(**{**wanted, **fields})


async def record(outbox: DynamoOutbox, times: int = 1) -> int:
    """How many were recorded for sure."""
    sure = 0
    for _ in range(times):
        try:
            await AuditTrail(outbox).record(entry())
        except AuditUnavailableError:
            continue
        sure += 1
    return sure


async def stored(table: DynamoTable) -> list[OutboxItem]:
    """Every item, after checking that each producer's are 1, 2, ... and agree with its counter."""
    reader = DynamoOutboxReader(table, SERVICE)
    found: list[OutboxItem] = []
    for producer in reader.producers:
        items = await reader.after(producer, 0, 10_000)
        counter = await table.get({"pk": f"AUDITSEQ#{producer}", "sk": "AUDITSEQ"})
        assert [item.sequence for item in items] == list(range(1, len(items) + 1))
        assert (counter["last"] if counter else 0) == len(items)
        for item in items:
            assert (item.event["producer"], item.event["sequence"]) == (producer, item.sequence)
        found += items
    assert len({item.event["event_id"] for item in found}) == len(found)
    return found


async def test_an_event_is_numbered_and_stored_whole(outboxes, make_client, table):
    outbox = outboxes.open(make_client)
    await AuditTrail(outbox).record(entry(user_id=3, metadata={"project_id": 7}))
    (item,) = await stored(table)
    assert item.event["user_id"] == 3
    assert item.event["metadata"] == {"project_id": 7, "outcome": "allowed"}
    assert item.refused is None


async def test_an_undisturbed_process_keeps_to_one_producer(outboxes, make_client, table):
    client = make_client()
    calls = Interference(client, "TransactWriteItems")
    await record(outboxes.open(lambda: client), 10)
    assert len({item.producer for item in await stored(table)}) == 1
    assert calls.calls == 10


async def test_another_process_learns_the_number_from_one_refusal(
    outboxes, make_client, table, one_shard
):
    await record(outboxes.open(make_client), 7)
    client = make_client()
    calls = Interference(client, "TransactWriteItems")
    reads = Interference(client, "GetItem")
    await record(outboxes.open(lambda: client), 3)
    assert len(await stored(table)) == 10
    assert (calls.calls, reads.calls) == (1 + 3, 0)


async def test_where_a_refusal_does_not_tell_the_number_is_read(
    outboxes, make_client, table, one_shard
):
    await record(outboxes.open(make_client), 2)
    client = make_client()
    Interference(client, "TransactWriteItems").cancel("ConditionalCheckFailed", "None")
    await record(outboxes.open(lambda: client))
    assert len(await stored(table)) == 3


async def test_fifty_processes_at_once_leave_no_gap(outboxes, make_client, table, patient):
    client = make_client()
    rivals = [outboxes.open(lambda: client) for _ in range(RECORDERS)]
    sure = await asyncio.gather(*(record(outbox, 2) for outbox in rivals))
    assert sum(sure) == 2 * RECORDERS
    items = await stored(table)
    assert len(items) == 2 * RECORDERS
    assert len({item.producer for item in items}) > SHARDS / 4


async def test_fifty_calls_at_once_in_one_process_leave_no_gap(
    outboxes, make_client, table, patient
):
    outbox = outboxes.open(make_client)
    sure = await asyncio.gather(*(record(outbox) for _ in range(RECORDERS)))
    assert sum(sure) == RECORDERS
    assert len(await stored(table)) == RECORDERS


async def test_transactions_that_refuse_each_other_leave_no_gap(
    outboxes, make_client, table, patient
):
    contested = Contested(make_client)
    client = contested.make_client()
    rivals = [outboxes.open(lambda: client) for _ in range(RECORDERS)]
    sure = await asyncio.gather(*(record(outbox) for outbox in rivals))
    assert sum(sure) == RECORDERS
    assert contested.conflicts > 0
    assert len(await stored(table)) == RECORDERS


@pytest.mark.parametrize("seed", range(5))
async def test_kills_between_the_steps_leave_no_gap(outboxes, make_client, table, one_shard, seed):
    """Before the transaction, after it and before its answer; some processes end with it."""
    chance = random.Random(seed)

    def dying_client() -> Any:
        client = make_client()
        call = client._make_api_call

        def dying(operation: str, arguments: Any) -> Any:
            if operation == "TransactWriteItems" and chance.random() < 0.2:
                raise ConnectionClosedError(endpoint_url="before")
            answer = call(operation, arguments)
            if operation == "TransactWriteItems" and chance.random() < 0.2:
                raise ConnectionClosedError(endpoint_url="after")
            return answer

        client._make_api_call = dying
        return client

    client = dying_client()

    async def life() -> int:
        sure = 0
        for _ in range(3):
            # A new process after each death: it remembers nothing.
            outbox = outboxes.open(lambda: client)
            for _ in range(4):
                once = await record(outbox)
                sure += once
                if not once:
                    break
        return sure

    sure = sum(await asyncio.gather(*(life() for _ in range(6))))
    items = await stored(table)
    # What was answered is there; what was not may be, and is then an event like any other.
    assert len(items) >= sure > 0


async def test_a_caller_that_leaves_leaves_no_gap(outboxes, make_client, table, one_shard):
    outbox = outboxes.open(make_client)
    for _ in range(20):
        task = asyncio.create_task(record(outbox))
        await asyncio.sleep(0.002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await record(outbox, 3) == 3
    await stored(table)


async def test_a_table_that_does_not_answer_refuses_the_operation(outboxes, make_client, table):
    client = make_client()
    calls = Interference(client, "TransactWriteItems")
    calls.fail("ProvisionedThroughputExceededException")
    outbox = outboxes.open(lambda: client)
    with pytest.raises(AuditUnavailableError) as refused:
        await AuditTrail(outbox).record(entry())
    assert refused.value.status == 503
    assert refused.value.headers["Retry-After"] == "1"
    assert await stored(table) == []
    assert await record(outbox) == 1


async def test_an_item_in_the_way_is_never_overwritten(
    outboxes, make_client, table, one_shard, monkeypatch
):
    """Nothing of ours puts it there; losing an event to it would be silent."""
    monkeypatch.setattr("servicekit.audit_outbox._PATIENCE_SECONDS", 0.1)
    outbox = outboxes.open(make_client)
    await record(outbox)
    key = {"pk": {"S": "AUDITOUT#ai:00"}, "sk": {"S": f"{2:016}"}}
    make_client().put_item(TableName=TABLE, Item={**key, "precious": {"BOOL": True}})
    assert await record(outbox) == 0
    left = make_client().get_item(TableName=TABLE, Key=key)["Item"]
    assert left["precious"] == {"BOOL": True}


async def test_the_sender_reads_removes_and_marks(outboxes, make_client, table, one_shard):
    await record(outboxes.open(make_client), 5)
    reader = DynamoOutboxReader(table, SERVICE)
    first = await reader.after("ai:00", 0, 2)
    assert [item.sequence for item in first] == [1, 2]
    await reader.remove(first)
    await reader.remove(first)
    rest = await reader.after("ai:00", 0, 10)
    assert [item.sequence for item in rest] == [3, 4, 5]
    await reader.refuse(rest[1], "event_id_conflict")
    await reader.refuse(first[0], "gone")
    marked = await reader.after("ai:00", 0, 10)
    assert [item.refused for item in marked] == [None, "event_id_conflict", None]


async def test_the_stream_brings_the_same_items(outboxes, make_client, table, one_shard):
    await record(outboxes.open(make_client), 2)
    items = await DynamoOutboxReader(table, SERVICE).after("ai:00", 0, 10)
    raw = [
        await table.get({"pk": "AUDITOUT#ai:00", "sk": f"{item.sequence:016}"}) for item in items
    ]
    records = [
        {"eventName": "INSERT", "dynamodb": {"NewImage": to_attributes(image)}} for image in raw
    ]
    assert items_of_stream(records) == items


async def test_a_conflict_is_answered_with_another_producer(outboxes, make_client, table):
    client = make_client()
    calls = Interference(client, "TransactWriteItems")
    calls.cancel("TransactionConflict", "None", times=3)
    await record(outboxes.open(lambda: client))
    tried = [request["TransactItems"][0]["Update"]["Key"]["pk"]["S"] for request in calls.requests]
    assert len(tried) == 4
    assert len(set(tried)) == 4
    assert len(await stored(table)) == 1
