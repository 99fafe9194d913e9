"""Queries of records in the local store: how long, and how much is read for an answer."""

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from bench.emulator import client, create_table, ministack
from bench.figure import Figure
from functions.audit.adapters import keys
from functions.audit.adapters.producers import DynamoProducers
from functions.audit.adapters.records import DynamoRecordReader, DynamoRecordWriter
from functions.audit.domain.models import Entry, Filter, Span, Terms
from servicekit.dynamodb import BATCH_SIZE, DynamoTable, to_attributes

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

RECORDS = 100_000
_FEW = 10_000
_DAYS = 60
_ROUNDS = 15
_LIMIT = 50
_WRITERS = 8
_TABLES = {"records": len(keys.INDEXES), "ledger": 1}


def measure() -> Iterator[Figure]:
    """The 95th percentile over every kind of query; what is read for a record that is answered.

    The latter of a tenth of the records too: it does not depend on how many there are.
    """
    with ministack() as endpoint:
        dynamodb = client("dynamodb", endpoint)
        for name, indexes in _TABLES.items():
            create_table(dynamodb, name, indexes)
        counting = _Counting(dynamodb)
        make = cast("Callable[[], DynamoDBClient]", lambda: counting)
        records = DynamoTable("records", make)
        ledger = DynamoTable("ledger", make)
        now = datetime.now(UTC)
        entries = list(_entries(now))
        writer = DynamoRecordWriter(records, ledger, DynamoProducers(ledger), hot_days=90)
        reader = DynamoRecordReader(records, ledger, lambda: now)
        _fill(dynamodb, writer, entries[:_FEW])
        few = asyncio.run(_queries(reader, counting, entries[:_FEW], now))
        _fill(dynamodb, writer, entries[_FEW:])
        all_of_them = asyncio.run(_queries(reader, counting, entries, now))
        yield Figure(f"audit: hot query of {RECORDS:,} records, p50", all_of_them.p50, "ms")
        yield Figure(f"audit: hot query of {RECORDS:,} records, p95", all_of_them.p95, "ms", 200)
        for number, read in ((_FEW, few), (RECORDS, all_of_them)):
            answered = f"for each one answered, of {number:,}"
            yield Figure(f"audit: records read {answered}", read.records, "", 1.05)
            yield Figure(f"audit: index entries read {answered}", read.entries, "", 3)
        records.close()
        ledger.close()


@dataclass(frozen=True)
class _Taken:
    """Of one query in milliseconds; of one record that is answered in items."""

    p50: float
    p95: float
    records: float
    entries: float


async def _queries(
    reader: DynamoRecordReader, counting: "_Counting", entries: list[Entry], now: datetime
) -> _Taken:
    chance = random.Random(7)
    span = Span(now - timedelta(days=_DAYS), now)
    taken: list[float] = []
    answered = 0
    counting.records = counting.entries = 0
    for _ in range(_ROUNDS):
        for wanted in _filters(chance.choice(entries)):
            started = time.perf_counter()
            page = await reader.find(wanted, span, None, _LIMIT)
            taken.append((time.perf_counter() - started) * 1000)
            answered += len(page.items)
    return _Taken(
        p50=statistics.median(taken),
        p95=statistics.quantiles(taken, n=20)[-1],
        records=counting.records / answered,
        entries=counting.entries / answered,
    )


def _filters(entry: Entry) -> tuple[Filter, ...]:
    terms = entry.terms
    return (
        Filter(),
        Filter(event_type=terms.event_type),
        Filter(user_id=terms.user_id),
        Filter(resource=terms.resource),
        Filter(resource_prefix=f"{keys.root_of(terms.resource)}/"),
        Filter(action=terms.action),
        Filter(request_id=terms.request_id),
        Filter(session_id=terms.session_id),
    )


def _entries(now: datetime) -> Iterator[Entry]:
    chance = random.Random(1)
    for number in range(RECORDS):
        yield Entry(
            event_id=f"e-{number:06}",
            accepted_at=now - timedelta(seconds=chance.randrange(1, _DAYS * 86_400)),
            record=b'{"schema":1,"padding":"' + b"x" * 500 + b'"}',
            fingerprint="f" * 64,
            terms=Terms(
                event_type=chance.choice(("user_action", "system_event", "data_event")),
                resource=f"project{chance.randrange(200)}/card/{chance.randrange(50)}",
                action=chance.choice(("create", "read", "update", "delete")),
                user_id=chance.randrange(1_000),
                request_id=f"r-{number // 3}",
                session_id=f"s-{number // 40}",
            ),
        )


def _fill(dynamodb: Any, writer: DynamoRecordWriter, entries: list[Entry]) -> None:
    """The records as they are stored, without the transactions that make them new."""

    def put(start: int) -> None:
        requests = [
            {"PutRequest": {"Item": to_attributes(writer.item(entry))}}
            for entry in entries[start : start + BATCH_SIZE]
        ]
        dynamodb.batch_write_item(RequestItems={"records": requests})

    with ThreadPoolExecutor(_WRITERS) as workers:
        list(workers.map(put, range(0, len(entries), BATCH_SIZE)))


class _Counting:
    """A client that counts the items its queries and batch reads look at."""

    def __init__(self, dynamodb: Any) -> None:
        self._dynamodb = dynamodb
        self.records = self.entries = 0

    def __getattr__(self, operation: str) -> Any:
        call = getattr(self._dynamodb, operation)

        def counted(**arguments: Any) -> Any:
            answer = call(**arguments)
            if operation == "query":
                self.entries += answer["ScannedCount"]
            elif operation == "batch_get_item":
                self.records += sum(len(found) for found in answer["Responses"].values())
            return answer

        return counted
