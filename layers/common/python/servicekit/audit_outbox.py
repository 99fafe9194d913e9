"""The audit outbox in a service's own table.

| item    | pk                    | sk                 | attributes                               |
| ------- | --------------------- | ------------------ | ---------------------------------------- |
| counter | AUDITSEQ#<producer>   | AUDITSEQ           | last                                     |
| event   | AUDITOUT#<producer>   | <sequence, padded> | sequence, event (JSON), recorded_at,     |
|         |                       |                    | refused (the code, where the sink did)   |

A producer is a shard of a service, `<service>:00` to `<service>:15`. The counter moves from n to
n + 1 in the transaction that writes event n + 1, so whatever crashes, the numbers of stored events
have no gap; shards keep writers out of each other's way.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from servicekit.audit import AuditUnavailableError, JsonObject
from servicekit.backoff import full_jitter
from servicekit.clock import from_text
from servicekit.dynamodb import (
    NEW,
    ConditionFailedError,
    DynamoTable,
    Expression,
    Item,
    Key,
    Put,
    TransactionRefusedError,
    Update,
    Write,
    WriteConflictError,
    from_attributes,
)
from servicekit.errors import StoreUnavailableError

SHARDS = 16
"""More may be added at any time; a shard that was used must stay, or nobody sends what it holds."""

PK_PREFIX = "AUDITOUT#"
"""Of every event's partition: what the stream's filter and the sender's rights name."""

_PATIENCE_SECONDS = 5.0
"""How long an event is tried while others are in the way; API Gateway waits 29 s."""

_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.16
_SEQUENCE_DIGITS = 16


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """An event on its way. `refused` is the code with which the sink will never take it."""

    producer: str
    sequence: int
    event: JsonObject
    recorded_at: datetime
    refused: str | None = None


class DynamoOutbox:
    """`audit.Outbox`: one transaction an event.

    A process begins at a random shard and remembers how far each one that it used had come. Events
    recorded at the same time take different shards, as long as there are any.
    """

    def __init__(self, table: DynamoTable, service: str) -> None:
        self._table = table
        self._service = service
        self._last: dict[int, int] = {}
        # The end is what is used next: so it stays the same one while nobody is in the way.
        self._free = random.sample(range(SHARDS), SHARDS)
        self._slots = asyncio.Semaphore(SHARDS)

    async def append(self, event: JsonObject) -> None:
        """See `audit.Outbox`."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + _PATIENCE_SECONDS
        async with self._slots:
            for attempt in itertools.count():
                try:
                    if await self._attempt(event):
                        return
                except StoreUnavailableError:
                    break
                # The first refusal of a shard only tells how far it has come.
                pause = 0.0
                if attempt:
                    pause = full_jitter(attempt, _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
                if clock() + pause > deadline:
                    break
                await asyncio.sleep(pause)
        raise AuditUnavailableError(retry_after=1)

    async def _attempt(self, event: JsonObject) -> bool:
        """Whether the event is stored; if not, others were faster and it is worth a new try."""
        shard = self._free.pop()
        in_the_way = False
        try:
            return await self._append(shard, event)
        except (TransactionRefusedError, WriteConflictError):
            in_the_way = True
            return False
        finally:
            self._free.insert(0 if in_the_way else len(self._free), shard)

    async def _append(self, shard: int, event: JsonObject) -> bool:
        """False when the counter had moved: then it is known how far."""
        producer = _producer(self._service, shard)
        last = self._last.get(shard, 0)
        writes: list[Write] = [_advance(producer, last), _put(producer, last + 1, event)]
        try:
            # In another's way, another shard is better than waiting.
            await self._table.transact(writes, attempts=1)
        except TransactionRefusedError as refused:
            if 0 not in refused.failed:
                raise
            self._last[shard] = await self._counted(producer, refused.items.get(0))
            return False
        self._last[shard] = last + 1
        return True

    async def _counted(self, producer: str, item: Item | None) -> int:
        item = item or await self._table.get(_counter_key(producer))
        return cast("int", item["last"]) if item else 0


class DynamoOutboxReader:
    """The outbox, from the side of the sender."""

    def __init__(self, table: DynamoTable, service: str) -> None:
        self._table = table
        self.producers = [_producer(service, shard) for shard in range(SHARDS)]

    async def after(self, producer: str, sequence: int, limit: int) -> list[OutboxItem]:
        """At most `limit` items of a producer above `sequence`, in order, consistent."""
        page = await self._table.query(
            "pk = :pk AND sk > :after",
            {":pk": f"{PK_PREFIX}{producer}", ":after": _sk(sequence)},
            limit=limit,
        )
        return [_item_from(item) for item in page.items]

    async def remove(self, items: Sequence[OutboxItem]) -> None:
        """Removes what has arrived; may be repeated."""
        keys = [_item_key(item.producer, item.sequence) for item in items]
        await self._table.write_batch(deletes=keys)

    async def refuse(self, item: OutboxItem, code: str) -> None:
        """Keeps the item and marks it, unless it is gone."""
        mark = Expression(
            "attribute_exists(pk)", update="SET refused = :code", values={":code": code}
        )
        try:
            await self._table.update(Update(_item_key(item.producer, item.sequence), mark))
        except ConditionFailedError:
            return


def items_of_stream(records: Sequence[Mapping[str, Any]]) -> list[OutboxItem]:
    """The items in records of the table's stream, which the mapping's filter has chosen."""
    return [_item_from(from_attributes(record["dynamodb"]["NewImage"])) for record in records]


def _producer(service: str, shard: int) -> str:
    return f"{service}:{shard:02}"


def _sk(sequence: int) -> str:
    return f"{sequence:0{_SEQUENCE_DIGITS}}"


def _counter_key(producer: str) -> Key:
    return {"pk": f"AUDITSEQ#{producer}", "sk": "AUDITSEQ"}


def _item_key(producer: str, sequence: int) -> Key:
    return {"pk": f"{PK_PREFIX}{producer}", "sk": _sk(sequence)}


def _advance(producer: str, last: int) -> Update:
    condition = "#last = :last" if last else "attribute_not_exists(pk)"
    return Update(
        _counter_key(producer),
        Expression(
            condition,
            update="SET #last = :next",
            names={"#last": "last"},
            values={":next": last + 1} | ({":last": last} if last else {}),
        ),
    )


def _put(producer: str, sequence: int, event: JsonObject) -> Put:
    numbered = {**event, "producer": producer, "sequence": sequence}
    return Put(
        {
            **_item_key(producer, sequence),
            "producer": producer,
            "sequence": sequence,
            "event": json.dumps(numbered, ensure_ascii=False, separators=(",", ":")),
            "recorded_at": event["occurred_at"],
        },
        NEW,
    )


def _item_from(item: Mapping[str, Any]) -> OutboxItem:
    return OutboxItem(
        item["producer"],
        item["sequence"],
        json.loads(item["event"]),
        from_text(item["recorded_at"]),
        item.get("refused"),
    )
