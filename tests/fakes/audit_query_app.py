"""The reading half's app over memory, called as API Gateway calls it."""

import json
from collections.abc import Iterable
from typing import Any

import httpx

from functions.audit.domain import dependencies
from functions.audit.domain.exports import ExportService
from functions.audit.domain.lookup import RecordLookup
from functions.audit.domain.models import Entry, ProducerState
from functions.audit.domain.query import QueryService
from functions.audit.domain.reconciliation import ReconciliationService
from functions.audit.domain.stats import StatsService
from functions.audit.routes.query import create_app
from tests.fakes.ai_app import REQUEST_CONTEXT, as_event
from tests.fakes.audit_log import MemoryLedger, MemoryLog
from tests.fakes.audit_reading import (
    Clock,
    MemoryExports,
    MemoryFiles,
    MemoryQueue,
    MemoryRecords,
    NarrowArchive,
    PlainOpener,
)

HOT_DAYS = 90
SEAL_SECONDS = 60


class MemoryProducers:
    """What is read of `ports.Producers`."""

    def __init__(self) -> None:
        self.states: list[ProducerState] = []

    async def all(self) -> list[ProducerState]:
        return self.states


class AuditQueries:
    """The query function over memory; `log` is sealed by the tests."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.clock = Clock()
        self.records = MemoryRecords(entries)
        self.cold = NarrowArchive((), days=100)
        self.log = MemoryLog()
        self.log.now = self.clock.now
        for entry in entries:
            self.log.accept(entry.event_id, entry.record)
        self.exports, self.queue, self.files = MemoryExports(), MemoryQueue(), MemoryFiles()
        self.producers = MemoryProducers()
        ledger = MemoryLedger(self.log.state)
        lookup = RecordLookup(self.records, self.cold, ledger)
        exports = ExportService(self.exports, self.files, self.queue, self.clock)
        self.app = create_app(
            dependencies.Query(
                service_name="audit-sink-service",
                queries=QueryService(
                    self.records,
                    self.cold,
                    exports,
                    lookup,
                    PlainOpener(),  # type: ignore[arg-type]
                    self.clock,
                    HOT_DAYS,
                ),
                exports=exports,
                proofs=self.log.proofs(),
                reconciliation=ReconciliationService(self.records, self.producers),  # type: ignore[arg-type]
                stats=StatsService(ledger, self.clock, SEAL_SECONDS),
                checks={"records": self.records.check, "archive": self.cold.check},
            )
        )

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        context: dict[str, Any] | None = REQUEST_CONTEXT,
        headers: Any = None,
        **query: Any,
    ) -> httpx.Response:
        """One call; `query` with `from_` for `from`."""
        app: Any = self.app if context is None else as_event(self.app, context)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(
                method,
                path,
                params={name.rstrip("_"): value for name, value in query.items()},
                content=None if body is None else json.dumps(body),
                headers=[
                    *(() if body is None else (("content-type", "application/json"),)),
                    *(headers or ()),
                ],
            )

    async def get(self, path: str, **query: Any) -> httpx.Response:
        """GET under the contract's prefix."""
        return await self.call("GET", f"/api/v1{path}", **query)
