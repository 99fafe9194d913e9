"""AuditClient over a transport in this process: what it sends, and what it makes of answers."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from contracts.audit import examples, v1
from contracts.audit.client import AuditClient
from contracts.client.errors import ConflictError, NotFoundError
from contracts.client.transport import CallOptions

BASE_URL = "http://127.0.0.1:4566/_aws/execute-api/a1b2c3/live"
START = datetime(2026, 1, 1, tzinfo=UTC)
Use = Callable[[AuditClient], Awaitable[Any]]
EVENT_PATH = f"/api/v1/events/{examples.EVENT_ID}"


def use(answer: httpx.Response, call: Use) -> tuple[Any, httpx.Request]:
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return answer

    async def run() -> Any:
        transport = httpx.MockTransport(handle)
        async with AuditClient(BASE_URL, transport=transport) as client:
            return await call(client)

    result = asyncio.run(run())
    return result, requests[0]


CALLS: dict[str, tuple[Use, str, str, object, dict[str, Any]]] = {
    "record": (
        lambda c: c.record(v1.AuditEventCreate(**examples.EVENT_CREATE)),
        "POST /api/v1/events",
        "",
        examples.EVENT_CREATE,
        examples.EVENT,
    ),
    "record of a person's event": (
        lambda c: c.record(v1.UserEventCreate(**examples.USER_EVENT_CREATE)),
        "POST /api/v1/events/user",
        "",
        examples.USER_EVENT_CREATE,
        examples.USER_EVENT,
    ),
    "record of a system's event": (
        lambda c: c.record(v1.SystemEventCreate(**examples.SYSTEM_EVENT_CREATE)),
        "POST /api/v1/events/system",
        "",
        examples.SYSTEM_EVENT_CREATE,
        examples.SYSTEM_EVENT,
    ),
    "record of a security event": (
        lambda c: c.record(v1.SecurityEventCreate(**examples.SECURITY_EVENT_CREATE)),
        "POST /api/v1/events/security",
        "",
        examples.SECURITY_EVENT_CREATE,
        examples.SECURITY_EVENT,
    ),
    "record of a data event": (
        lambda c: c.record(v1.DataEventCreate(**examples.DATA_EVENT_CREATE)),
        "POST /api/v1/events/data",
        "",
        examples.DATA_EVENT_CREATE,
        examples.DATA_EVENT,
    ),
    "record_batch": (
        lambda c: c.record_batch(v1.Batch(**examples.BATCH).events),
        "POST /api/v1/events/batch",
        "",
        examples.BATCH,
        examples.BATCH_RESULT,
    ),
    "get": (
        lambda c: c.get(examples.EVENT_ID),
        f"GET {EVENT_PATH}",
        "",
        None,
        examples.MASKED_EVENT,
    ),
    "find": (
        lambda c: c.find(
            v1.EventFilter(user_id=3, resource_prefix="project/7"), start_time=START, limit=5
        ),
        "GET /api/v1/events",
        "user_id=3&resource_prefix=project%2F7&start_time=2026-01-01T00%3A00%3A00%2B00%3A00&limit=5",
        None,
        examples.EVENT_PAGE,
    ),
    "find too much": (
        lambda c: c.find(cursor="a"),
        "GET /api/v1/events",
        "cursor=a",
        None,
        examples.EXPORT,
    ),
    "recent": (
        lambda c: c.recent(3),
        "GET /api/v1/events/recent",
        "limit=3",
        None,
        examples.RECENT_EVENTS,
    ),
    "stats": (lambda c: c.stats(), "GET /api/v1/stats", "", None, examples.STATS),
    "proof": (
        lambda c: c.proof(examples.EVENT_ID),
        f"GET {EVENT_PATH}/proof",
        "",
        None,
        examples.PROOF,
    ),
    "latest_checkpoint": (
        lambda c: c.latest_checkpoint(),
        "GET /api/v1/checkpoints/latest",
        "",
        None,
        examples.CHECKPOINT,
    ),
    "consistency": (
        lambda c: c.consistency(1, 2),
        "GET /api/v1/checkpoints/consistency",
        "from=1&to=2",
        None,
        examples.CONSISTENCY_PROOF,
    ),
    "export": (
        lambda c: c.export(v1.ExportCreate(**examples.EXPORT_CREATE)),
        "POST /api/v1/exports",
        "",
        examples.EXPORT_CREATE,
        examples.EXPORT,
    ),
    "list_exports": (
        lambda c: c.list_exports(limit=2),
        "GET /api/v1/exports",
        "limit=2",
        None,
        examples.EXPORT_PAGE,
    ),
    "get_export": (
        lambda c: c.get_export(examples.EXPORT_ID),
        f"GET /api/v1/exports/{examples.EXPORT_ID}",
        "",
        None,
        examples.COMPLETED_EXPORT,
    ),
    "reconcile": (
        lambda c: c.reconcile(start_time=START),
        "GET /api/v1/reconciliation",
        "from=2026-01-01T00%3A00%3A00%2B00%3A00",
        None,
        examples.RECONCILIATION,
    ),
    "flush": (lambda c: c.flush(), "POST /api/v1/flush", "", None, examples.FLUSH_RESULT),
    "erase_subject": (
        lambda c: c.erase_subject(3),
        "DELETE /api/v1/subjects/3",
        "",
        None,
        examples.SUBJECT_ERASED,
    ),
}


@pytest.mark.parametrize(
    ("call", "route", "query", "body", "answer"), CALLS.values(), ids=CALLS.keys()
)
def test_calls(call: Use, route: str, query: str, body: object, answer: dict[str, Any]) -> None:
    result, request = use(httpx.Response(200, json=answer), call)
    method, path = route.split()
    assert request.method == method
    assert request.url.path == f"/_aws/execute-api/a1b2c3/live{path}"
    assert request.url.query.decode() == query
    assert (json.loads(request.content) if request.content else None) == body
    assert result.model_dump(mode="json") == answer


def problem(status: int, code: str) -> httpx.Response:
    body = {"type": "about:blank", "title": "No", "status": status, "code": code}
    headers = {"Content-Type": "application/problem+json", "Retry-After": "60"}
    return httpx.Response(status, content=json.dumps(body), headers=headers)


def test_an_event_that_is_not_there_is_none() -> None:
    result, request = use(problem(404, "event_not_found"), lambda c: c.get("a?b"))
    assert result is None
    assert request.url.raw_path.endswith(b"/events/a%3Fb")
    with pytest.raises(NotFoundError):
        use(problem(404, "not_found"), lambda c: c.get("x"))


def test_a_proof_before_the_sealing_says_when() -> None:
    with pytest.raises(ConflictError) as caught:
        use(problem(409, "not_sealed_yet"), lambda c: c.proof("x"))
    assert (caught.value.code, caught.value.retry_after) == ("not_sealed_yet", 60)


def test_options_are_sent() -> None:
    options = CallOptions(idempotency_key="k1", request_id="r1")
    event = v1.SystemEventCreate(resource="r", action="a")
    _, request = use(
        httpx.Response(201, json=examples.SYSTEM_EVENT), lambda c: c.record(event, options=options)
    )
    assert request.headers["Idempotency-Key"] == "k1"
    assert request.headers["X-Request-Id"] == "r1"


def test_from_environment() -> None:
    assert AuditClient.from_environment({"AUDIT_SERVICE_URL": BASE_URL})
    with pytest.raises(KeyError, match="AUDIT_SERVICE_URL"):
        AuditClient.from_environment({})
    with pytest.raises(KeyError, match="AWS_REGION"):
        AuditClient.from_environment({"AUDIT_SERVICE_URL": BASE_URL}, sign=True)
