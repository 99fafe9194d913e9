"""The reading routes, over memory: bodies, statuses, and input that is none."""

from datetime import timedelta

import pytest

from contracts.audit import audit_verify, v1
from functions.audit.domain.errors import ArchiveUnavailableError
from functions.audit.domain.models import Gap, ProducerState
from servicekit.clock import to_text
from servicekit.errors import StoreUnavailableError
from tests.fakes.ai_app import REQUEST_CONTEXT
from tests.fakes.audit_query_app import AuditQueries
from tests.fakes.audit_reading import NOW, entry

pytestmark = pytest.mark.anyio


def sink(*ages: float, **fields):
    return AuditQueries(
        [entry(f"e{n}", NOW - timedelta(days=age), **fields) for n, age in enumerate(ages)]
    )


async def test_health_is_open_and_touches_nothing():
    service = sink()
    service.records.failure = StoreUnavailableError()
    answer = await service.call("GET", "/health", context=None)
    assert answer.json() == {"status": "healthy", "service": "audit-sink-service"}


@pytest.mark.parametrize(
    "path",
    [
        "/ready",
        "/api/v1/events",
        "/api/v1/events/recent",
        "/api/v1/events/e0",
        "/api/v1/events/e0/proof",
        "/api/v1/stats",
        "/api/v1/reconciliation",
        "/api/v1/checkpoints/latest",
        "/api/v1/checkpoints/consistency?from=1&to=1",
        "/api/v1/exports",
        "/api/v1/exports/x",
    ],
)
async def test_everything_else_needs_a_caller(path):
    answer = await sink(1).call("GET", path, context=None)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_readiness_names_each_dependency():
    service = sink()
    answer = await service.call("GET", "/ready")
    assert answer.status_code == 200
    assert answer.json()["checks"] == {"records": "ok", "archive": "ok"}
    service.cold.failure = ArchiveUnavailableError()
    answer = await service.call("GET", "/ready")
    assert answer.status_code == 503
    assert answer.json()["status"] == "not ready"
    assert answer.json()["checks"] == {"records": "ok", "archive": "failed"}


async def test_a_dependency_that_hangs_is_not_ready(monkeypatch):
    import asyncio

    service = sink()
    monkeypatch.setattr("servicekit.fastapi_app.READY_DEADLINE_SECONDS", 0.01)
    service.app.state.dependencies.checks["archive"] = asyncio.Event().wait
    answer = await service.call("GET", "/ready")
    assert answer.json()["checks"] == {"records": "ok", "archive": "failed"}


async def test_events_page_newest_first_in_the_contracts_form():
    service = sink(1, 2, 3, user_id=3)
    first = (await service.get("/events", limit=2, user_id=3)).json()
    page = v1.EventPage.model_validate(first)
    assert [event.event_id for event in page.events] == ["e0", "e1"]
    assert page.has_more
    assert first["events"][0] == {
        "event_type": "user_action",
        "user_id": 3,
        "resource": "project/7",
        "action": "update",
        "metadata": {"note": "é ☃"},
        "request_id": None,
        "session_id": None,
        "event_id": "e0",
        "timestamp": "2026-11-21T12:00:00Z",
        "reported_by": "arn:aws:iam::000000000000:role/ai",
    }
    last = (await service.get("/events", limit=2, user_id=3, cursor=page.next_cursor)).json()
    assert [event["event_id"] for event in last["events"]] == ["e2"]
    assert (last["has_more"], last["next_cursor"]) == (False, None)


async def test_conditions_narrow():
    service = AuditQueries(
        [
            entry("a", NOW, request_id="r", severity="high"),
            entry("b", NOW, session_id="s", event_type="security_event"),
            entry("c", NOW, resource="board/1", action="delete"),
        ]
    )
    for query, found in (
        ({"request_id": "r"}, "a"),
        ({"severity": "high"}, "a"),
        ({"session_id": "s"}, "b"),
        ({"event_type": "security_event"}, "b"),
        ({"resource": "board/1"}, "c"),
        ({"resource_prefix": "boa"}, "c"),
        ({"action": "delete"}, "c"),
        ({"action": "delete", "resource": "project/7"}, ""),
    ):
        events = (await service.get("/events", **query)).json()["events"]
        assert "".join(event["event_id"] for event in events) == found, query


async def test_times_bound_the_range():
    service = sink(1, 2, 3, 40)
    for query, found in (
        ({}, ["e0", "e1", "e2"]),
        ({"start_time": "2026-11-01T00:00:00Z"}, ["e0", "e1", "e2"]),
        ({"start_time": "2026-01-01T00:00:00Z"}, ["e0", "e1", "e2", "e3"]),
        ({"end_time": "2026-11-20T12:00:00Z"}, ["e2"]),
        ({"end_time": "2026-11-20T14:00:00.000001+02:00"}, ["e1", "e2"]),
        ({"end_time": "2999-01-01T00:00:00z"}, ["e0", "e1", "e2"]),
    ):
        service.cold.days = 10_000
        events = (await service.get("/events", **query)).json()["events"]
        assert [event["event_id"] for event in events] == found, query


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"user_id": 0}, "user_id"),
        ({"user_id": 2**31}, "user_id"),
        ({"user_id": "x"}, "user_id"),
        ({"severity": "fatal"}, "severity"),
        ({"resource": ""}, "resource"),
        ({"resource": "x" * 401}, "resource"),
        ({"cursor": ""}, "cursor"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"start_time": "1700000000"}, "start_time"),
        ({"start_time": "2026-11-01"}, "start_time"),
        ({"start_time": "2026-11-01T00:00:00"}, "start_time"),
        ({"start_time": "2026-13-01T00:00:00Z"}, "start_time"),
        ({"end_time": "0001-01-01T00:00:00+05:00"}, "end_time"),
        ({"end_time": "2026-11-01T00:00:00Z\n"}, "end_time"),
    ],
)
async def test_input_that_is_none_names_its_field(query, field):
    answer = await sink(1).get("/events", **query)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "invalid_request"
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_resource_and_its_prefix_exclude_each_other():
    answer = await sink(1).get("/events", resource="a", resource_prefix="a")
    assert answer.status_code == 422
    assert "Only one of" in answer.text


@pytest.mark.parametrize("cursor", ["x", "W10", "%00", "é", "a" * 1024])
async def test_a_wrong_cursor(cursor):
    answer = await sink(1).get("/events", cursor=cursor)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_a_range_without_time_in_it():
    for query in (
        {"start_time": "2026-11-20T00:00:00Z", "end_time": "2026-11-20T00:00:00Z"},
        {"start_time": "2027-11-20T00:00:00Z"},
    ):
        answer = await sink(1).get("/events", **query)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_range")


async def test_too_wide_a_range_is_an_export_that_is_begun():
    service = sink()
    answer = await service.get("/events", start_time="2020-01-01T00:00:00Z", action="delete")
    assert answer.status_code == 202
    export = v1.Export.model_validate(answer.json())
    assert (export.status, export.filter) == ("queued", {"action": "delete"})
    assert export.requested_by == "arn:aws:sts::000000000000:assumed-role/caller"
    assert service.queue.sent == [export.export_id]
    again = await service.get("/events", start_time="2020-01-01T00:00:00Z", action="delete")
    assert again.json()["export_id"] == export.export_id


@pytest.mark.parametrize("start", ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
async def test_a_range_from_before_there_was_anything_is_exported_as_any(start):
    service = sink()
    body = {**EXPORT, "start_time": start}
    made = []
    for _ in range(2):
        answer = await service.call(
            "POST", "/api/v1/exports", body, headers=[("idempotency-key", "k")]
        )
        asked = await service.get("/events", start_time=start)
        assert (answer.status_code, asked.status_code) == (202, 202)
        made += [answer.json()["export_id"], asked.json()["export_id"]]
    assert made[:2] == made[2:]
    assert service.queue.sent == made


async def test_recent_events():
    answer = (await sink(*range(1, 30)).get("/events/recent")).json()
    assert answer["count"] == 10
    assert [event["event_id"] for event in answer["events"]] == [f"e{n}" for n in range(10)]
    assert answer["note"]
    assert (await sink(1).get("/events/recent", limit=0)).status_code == 422


async def test_an_event_by_id():
    service = sink(1)
    assert (await service.get("/events/e0")).json()["event_id"] == "e0"
    for event_id in ("e1", "x" * 129):
        answer = await service.get(f"/events/{event_id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "event_not_found")


async def test_figures_are_those_of_now():
    service = sink(1, 2, 3)
    before = (await service.get("/stats")).json()
    assert (before["buffer_size"], before["tree_size"]) == (3, 0)
    assert before["last_flush_time"] is None
    assert before["running"]
    service.clock.now = service.log.now + timedelta(minutes=4)
    assert not (await service.get("/stats")).json()["running"]
    await service.log.seal()
    after = v1.Stats.model_validate((await service.get("/stats")).json())
    assert (after.buffer_size, after.tree_size, after.running) == (0, 3, True)
    assert after.last_flush_time == service.log.state.head.sealed_at
    assert after.oldest_pending_at is None
    assert (after.backends_count, after.storage_backend) == (2, "dynamodb+s3")


async def test_proofs_are_what_the_verifier_takes():
    service = sink(1, 2, 3)
    answer = await service.get("/events/e1/proof")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_sealed_yet")
    assert "every 60 s" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "60"
    assert (await service.get("/checkpoints/latest")).status_code == 404
    await service.log.seal()
    proof = v1.Proof.model_validate((await service.get("/events/e1/proof")).json())
    latest = v1.Checkpoint.model_validate((await service.get("/checkpoints/latest")).json())
    head = audit_verify.open_checkpoint(
        latest.checkpoint, audit_verify.parse_vkey(latest.public_key)
    )
    assert (head.size, head.root.hex()) == (3, latest.root_hash)
    assert (proof.leaf_index, proof.tree_size) == (1, 3)
    assert proof.checkpoint == latest.checkpoint
    assert proof.record.encode() == service.log.records["e1"]
    assert (await service.get("/events/nothing/proof")).status_code == 404


async def test_consistency():
    service = sink(1)
    await service.log.seal()
    service.log.accept("late")
    await service.log.seal()
    proof = (await service.get("/checkpoints/consistency", from_=1, to=2)).json()
    assert v1.ConsistencyProof.model_validate(proof).second == 2
    for query, status in (
        ({"from_": 2, "to": 1}, 422),
        ({"from_": 0, "to": 1}, 422),
        ({"from_": 1}, 422),
        ({"from_": 1, "to": 9}, 404),
    ):
        assert (await service.get("/checkpoints/consistency", **query)).status_code == status, query


async def test_reconciliation_names_gaps():
    service = sink()
    gap = Gap("ai", 3, 4, NOW - timedelta(days=2), NOW - timedelta(days=1))
    service.producers.states = [
        ProducerState("ai", 9, NOW, (gap,)),
        ProducerState("browser", 2, NOW),
    ]
    answer = v1.Reconciliation.model_validate((await service.get("/reconciliation")).json())
    assert not answer.complete
    ai, browser = answer.producers
    assert (ai.producer, ai.complete, ai.gaps[0].first, ai.gaps[0].last) == ("ai", False, 3, 4)
    assert browser.complete
    later = await service.get("/reconciliation", from_=to_text(NOW))
    assert later.json()["complete"]
    for query in ({"from_": "x"}, {"from_": to_text(NOW), "to": to_text(NOW)}):
        assert (await service.get("/reconciliation", **query)).status_code == 422


EXPORT = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-02-01T00:00:00Z"}


async def test_exports_are_created_and_read():
    service = sink()
    answer = await service.call("POST", "/api/v1/exports", {**EXPORT, "filter": {"user_id": 3}})
    assert answer.status_code == 202
    export = v1.Export.model_validate(answer.json())
    assert export.filter == {"user_id": 3}
    assert "download_url" not in answer.json()
    read = await service.get(f"/exports/{export.export_id}")
    assert read.json() == answer.json()
    listed = v1.ExportPage.model_validate((await service.get("/exports")).json())
    assert listed.exports == [export]
    assert not listed.has_more
    assert (await service.get("/exports/none")).status_code == 404
    assert (await service.get("/exports/" + "x" * 200)).status_code == 404


async def test_an_export_takes_an_idempotency_key():
    service = sink()

    async def create(body, *keys):
        headers = [("idempotency-key", key) for key in keys]
        return await service.call("POST", "/api/v1/exports", body, headers=headers)

    first = (await create(EXPORT, "k")).json()
    service.clock.move(hours=3)
    assert (await create(EXPORT, "k")).json() == first
    other = await create({**EXPORT, "filter": {"user_id": 1}}, "k")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    twice = await create(EXPORT, "k", "k")
    assert (twice.status_code, twice.json()["code"]) == (400, "invalid_idempotency_key")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"start_time": None}, "start_time"),
        ({"end_time": "x"}, "end_time"),
        ({"end_time": "0001-01-01T00:00:00+05:00"}, "end_time"),
        ({"filter": {"severity": "fatal"}}, "filter.severity"),
    ],
)
async def test_an_export_of_nonsense(change, field):
    answer = await sink().call("POST", "/api/v1/exports", {**EXPORT, **change})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_identity_comes_from_the_gateway_alone():
    context = {**REQUEST_CONTEXT, "identity": {"userArn": None}}
    answer = await sink().call("GET", "/api/v1/events", context=context)
    assert answer.status_code == 401


async def test_an_export_of_a_misspelt_filter_is_not_one_of_everything():
    body = {
        "start_time": "2026-11-01T00:00:00Z",
        "end_time": "2026-11-02T00:00:00Z",
        "filter": {"user": 7},
    }
    answer = await AuditQueries().call("POST", "/api/v1/exports", body)
    assert answer.status_code == 422
    assert "filter.user" in answer.text
