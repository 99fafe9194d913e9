"""The log over DynamoDB and S3 as moto has them: the fakes promise what the adapters keep."""

import asyncio
from datetime import timedelta

import pytest
from botocore.session import get_session

from functions.audit.adapters import keys
from functions.audit.adapters.evidence import S3Evidence
from functions.audit.adapters.ledger import DynamoLedger
from functions.audit.adapters.markers import marker_item
from functions.audit.domain.proofs import ProofService
from functions.audit.domain.sealing import Sealer
from servicekit.dynamodb import DynamoTable, Expression
from tests.fakes.audit_log import LOG_NAME, MemoryLog, MemoryMetrics, MemorySigner

pytestmark = pytest.mark.anyio

LEDGER = "santaclaude-local-audit-ledger"
BUCKET = "santaclaude-local-audit-evidence"


@pytest.fixture
def ledger_table(make_client):
    make_client().create_table(
        TableName=LEDGER,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": k, "AttributeType": "S"} for k in ("pk", "sk")],
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
    )
    table = DynamoTable(LEDGER, make_client)
    yield table
    table.close()


@pytest.fixture
def evidence(make_client):
    client = get_session().create_client("s3")
    client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    evidence = S3Evidence(BUCKET, lambda: client)
    yield evidence
    evidence.close()


class Sink:
    """Records in memory, their markers in the table."""

    def __init__(self, table, evidence):
        self.table, self.evidence = table, evidence
        self.ledger = DynamoLedger(table)
        self.log = MemoryLog()

    async def accept(self, count, prefix):
        self.log.state.markers.clear()
        self.log.accept_many(count, prefix)
        await self.table.write_batch(puts=list(map(marker_item, self.log.state.markers.values())))

    def sealer(self, batch_size=40):
        return Sealer(
            self.ledger, self.evidence, MemorySigner(), LOG_NAME, self.log.clock, batch_size
        )

    async def check(self):
        """Every record is proven, each at a place of its own, and nothing is left to do."""

        async def record(event_id):
            return self.log.records.get(event_id)

        proofs = ProofService(
            record, self.ledger, self.evidence, MemorySigner(), MemoryMetrics(), LOG_NAME, 60
        )
        newest = await proofs.latest()
        placed = await proofs.place(self.log.records, newest)
        assert sorted(place.leaf_index for place in placed.values()) == list(
            range(len(self.log.records))
        )
        assert newest.size == len(self.log.records)
        assert (await self.ledger.head()).settled
        assert await self.ledger.count_pending() == 0
        return proofs


async def test_sealers_at_once_and_a_log_that_grows(ledger_table, evidence):
    sink = Sink(ledger_table, evidence)
    await sink.accept(100, "a")
    results = await asyncio.gather(*(sink.sealer().run(sink.log.now) for _ in range(4)))
    assert [result.forks for result in results] == [0] * 4
    assert sum(result.sealed for result in results) == 100
    await sink.check()
    await sink.accept(30, "b")
    young = sink.log.now
    sink.log.now += timedelta(seconds=1)
    await sink.accept(5, "c")
    result = await sink.sealer().run(young)
    assert (result.sealed, result.checkpoint.size, result.complete) == (30, 130, True)
    assert result.oldest_pending_seconds < 1
    assert (await sink.sealer().run(sink.log.now)).sealed == 5
    proofs = await sink.check()
    assert (await proofs.consistency(130, 135)).path
    assert (await proofs.inclusion("c000004")).leaf_index == 134


async def test_a_head_that_was_lost_is_made_anew(ledger_table, evidence):
    sink = Sink(ledger_table, evidence)
    await sink.accept(100, "a")
    await sink.sealer().run(sink.log.now)
    head = await sink.ledger.head()
    await ledger_table.delete(keys.HEAD, Expression("attribute_exists(pk)"))
    result = await sink.sealer().run(sink.log.now)
    assert (result.forks, result.checkpoint.size) == (0, 100)
    assert await sink.ledger.head() == head
    await sink.check()
