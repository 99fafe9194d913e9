"""CPU per event of the audit sink's ingest function, in batches of 100.

The whole handler: the event of API Gateway goes in, its answer comes out. Once with records kept in
memory, and once with what storing adds: botocore's requests, made, signed and sent to nobody.
"""

import asyncio
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

from botocore.awsrequest import AWSResponse, HeadersDict
from mangum import Mangum
from mangum.types import LambdaContext

from bench.figure import Figure
from functions.audit.adapters.cipher import AesGcm
from functions.audit.adapters.producers import DynamoProducers
from functions.audit.adapters.records import DynamoRecordWriter
from functions.audit.domain.dependencies import Ingest
from functions.audit.domain.ingest import IngestService
from functions.audit.domain.masking import KINDS, Masking
from functions.audit.domain.models import Appended, Entry, SubjectKey
from functions.audit.domain.personal import Keyring
from functions.audit.domain.ports import RecordWriter
from functions.audit.routes.ingest import create_app
from servicekit.aws import make_client
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable
from servicekit.logging import configure_logging

_BATCH = 100
_RUNS = 30
_PERSONS = 10
_LIMIT_MS = 0.5
_CREDENTIALS = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
}


class _Memory:
    """Records kept in memory."""

    async def append(self, entries: Sequence[Entry]) -> list[Appended | Exception]:
        return [Appended(entry, created=True) for entry in entries]

    async def check(self) -> None:
        return


class _Keys:
    """Every person has a key."""

    async def find(self, user_ids: Sequence[int]) -> dict[int, SubjectKey]:
        return {user_id: SubjectKey(user_id, "k", bytes([user_id]) * 32) for user_id in user_ids}

    async def create(self, key: SubjectKey) -> SubjectKey:
        return key

    async def delete(self, user_id: int) -> bool:
        return bool(user_id)


class _Wrapping:
    """A wrapped key is the plain one."""

    async def generate(self, user_id: int) -> tuple[bytes, bytes]:
        return bytes([user_id]) * 32, bytes([user_id]) * 32

    async def unwrap(self, key: SubjectKey) -> bytes:
        return key.wrapped


def measure() -> Iterator[Figure]:
    """Milliseconds of CPU per event."""
    configure_logging("audit-sink-service", "WARNING")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    records, ledger = (DynamoTable(name, _answering_itself) for name in ("records", "ledger"))
    stored = DynamoRecordWriter(records, ledger, DynamoProducers(ledger), hot_days=90)
    try:
        yield Figure(
            "audit ingest: CPU per event, store excluded", _cpu(_Memory()), "ms", _LIMIT_MS
        )
        yield Figure(
            "audit ingest: CPU per event, with its requests", _cpu(stored), "ms", _LIMIT_MS
        )
    finally:
        records.close()
        ledger.close()
        asyncio.set_event_loop(None)
        loop.close()


def _answering_itself() -> Any:
    """A client that makes and signs its requests, and answers them without sending them."""
    os.environ |= _CREDENTIALS
    client = make_client("dynamodb", max_pool_connections=16, parameter_validation=False)
    client.meta.events.register("before-send.dynamodb", _answer)
    return client


def _answer(request: Any, **_: Any) -> AWSResponse:
    headers: Any = HeadersDict({"Content-Type": "application/x-amz-json-1.0"})
    return AWSResponse(request.url, 200, headers, _Body())


class _Body:
    """What botocore reads of an answer."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield b"{}"


def _cpu(writer: RecordWriter) -> float:
    service = IngestService(
        writer, Keyring(_Keys(), _Wrapping()), AesGcm(), Masking(KINDS), utc_now
    )
    handler = Mangum(create_app(Ingest(service)), lifespan="off")
    spent = []
    for run in range(_RUNS):
        event = _event(run)
        started = time.process_time()
        answer = handler(event, cast("LambdaContext", None))
        spent.append((time.process_time() - started) * 1000 / _BATCH)
        result = json.loads(answer["body"])
        if result["event_count"] != _BATCH:
            raise RuntimeError(f"not every event was stored: {answer['body'][:500]}")
    return statistics.median(spent)


def _event(run: int) -> dict[str, Any]:
    body = json.dumps({"events": [_report(run, index) for index in range(_BATCH)]})
    return {
        "resource": "/api/v1/events/batch",
        "path": "/api/v1/events/batch",
        "httpMethod": "POST",
        "headers": {"Content-Type": "application/json", "Host": "bench"},
        "multiValueHeaders": {"Content-Type": ["application/json"], "Host": ["bench"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "requestId": f"bench-{run}",
            "identity": {
                "sourceIp": "203.0.113.7",
                "userArn": "arn:aws:sts::000000000000:assumed-role/santaclaude-prod-ai-api/bench",
            },
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _report(run: int, index: int) -> dict[str, Any]:
    """What services report, in about 600 bytes.

    Every second one has personal fields, every fourth one text that has to be masked.
    """
    metadata: dict[str, Any] = {
        "project_id": 7,
        "from_column": "in progress",
        "to_column": "done",
        "duration_ms": 12.5 + index,
        "changes": [{"field": "position", "old": index, "new": index + 1}],
        "labels": ["backend", "audit", "urgent"],
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "note": "The card was moved by hand after the review had ended; nobody else was there.",
    }
    if index % 2:
        metadata |= {"ip_address": f"203.0.113.{index}", "user_agent": "Mozilla/5.0 (X11; Linux)"}
    if index % 4 == 0:
        metadata["note"] = "Ask jane.doe@example.com or +49 30 1234567 about 4111 1111 1111 1111."
    return {
        "event_type": "card.moved",
        "event_id": f"bench-{run}-{index}",
        "user_id": 1 + index % _PERSONS,
        "resource": f"project/7/card/{index}",
        "action": "move",
        "metadata": metadata,
        "request_id": f"req-{run}-{index}",
        "session_id": "01KASM0T3ZJ8W6Q1XN5V7D2B4C",
        "producer": "ai:00",
        "sequence": run * _BATCH + index + 1,
        "occurred_at": "2026-01-05T09:30:00.218Z",
    }
