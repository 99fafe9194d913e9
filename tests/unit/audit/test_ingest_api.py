"""The calls that record, as API Gateway makes them."""

import json

import pytest

from contracts.audit.v1 import MAX_BODY_BYTES, MAX_RECORD_BYTES
from servicekit.errors import StoreUnavailableError
from tests.fakes.audit import CALLER, AuditSink, assert_problem, event_body

pytestmark = pytest.mark.anyio

PATHS = ["", "/batch", "/user", "/system", "/security", "/data"]


@pytest.fixture
def sink():
    return AuditSink()


async def test_an_event_is_answered_as_it_is_stored(sink):
    body = event_body(
        user_id=3,
        metadata={"ip_address": "203.0.113.7", "note": "jane@example.com", "n": 1.5},
        request_id="r1",
        producer="caller:7",
        sequence=1,
        occurred_at="2026-11-22T10:00:00+02:00",
        severity="high",
        unknown="ignored",
    )
    answer = await sink.post(body)
    assert answer.status_code == 201, answer.text
    event = answer.json()
    assert len(event.pop("event_id")) == 26
    assert event.pop("timestamp").startswith("2026-11-22T12:00:00.")
    assert event == {
        "event_type": "t",
        "resource": "r/1",
        "action": "a",
        "user_id": 3,
        "metadata": {"ip_address": "203.0.113.7", "note": "[email]", "n": 1.5},
        "request_id": "r1",
        "session_id": None,
        "reported_by": CALLER,
        "producer": "caller:7",
        "sequence": 1,
        "occurred_at": "2026-11-22T08:00:00Z",
        "severity": "high",
        "masked": [{"path": "metadata.note", "kinds": ["email"]}],
    }


@pytest.mark.parametrize(
    ("path", "fields", "event_type", "added"),
    [
        ("/user", {"user_id": 3}, "user_action", {}),
        ("/system", {}, "system_event", {}),
        ("/security", {}, "security_event", {"severity": "medium"}),
        ("/security", {"severity": "critical"}, "security_event", {"severity": "critical"}),
        ("/data", {}, "data_event", {"data_classification": "internal"}),
        (
            "/data",
            {"data_classification": "restricted"},
            "data_event",
            {"data_classification": "restricted"},
        ),
    ],
)
async def test_endpoints_set_the_type(sink, path, fields, event_type, added):
    answer = await sink.post(event_body(metadata={"m": 1}, **fields), path)
    assert answer.status_code == 201, answer.text
    event = answer.json()
    assert event["event_type"] == event_type
    assert event["metadata"] == {"m": 1, **added}
    assert {name: event.get(name) for name in added} == added


async def test_a_persons_event_needs_the_person(sink):
    answer = await sink.post(event_body(), "/user")
    assert_problem(answer, 422, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == ["user_id"]


async def test_the_same_event_again_is_the_first_answer_with_200(sink):
    body = event_body(event_id="mine-1", user_id=3, metadata={"ip_address": "203.0.113.7"})
    first = await sink.post(body)
    second = await sink.post(body)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()
    assert_problem(await sink.post({**body, "action": "b"}), 409, "event_id_conflict")


async def test_an_erased_event_says_what_is_gone(sink):
    body = event_body(event_id="mine-1", user_id=3, metadata={"ip_address": "203.0.113.7"})
    await sink.post(body)
    await sink.keys.delete(3)
    # Its fingerprint was made under the key: that it is the same report cannot be told any more.
    assert_problem(await sink.post(body), 409, "event_id_conflict")


async def test_an_idempotency_key_stands_for_an_id(sink):
    body = event_body(metadata={"n": 1})
    first = await sink.post(body, idempotency_key="k1")
    second = await sink.post(body, idempotency_key="k1")
    other = await sink.post(body, idempotency_key="k2")
    assert [answer.status_code for answer in (first, second, other)] == [201, 200, 201]
    assert second.json() == first.json()
    assert first.json()["event_id"].startswith("ik-")
    answer = await sink.post(event_body(metadata={"n": 2}), idempotency_key="k1")
    assert_problem(answer, 409, "event_id_conflict")
    assert_problem(await sink.post(body, "/system", idempotency_key="k1"), 409, "event_id_conflict")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["a b", "x" * 256])
async def test_idempotency_keys_are_checked(sink, path, key):
    answer = await sink.post(event_body(), path, idempotency_key=key)
    assert_problem(answer, 400, "invalid_idempotency_key")


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/batch"])
@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ('{"a":{"b":9007199254740992}}', "metadata.a.b"),
        ('{"a":[1,NaN]}', "metadata.a.1"),
        ('{"a":1e999}', "metadata.a"),
        ('{"a":"\\ud800"}', "metadata.a"),
        ('{"a":1,"a":2}', "metadata.a"),
        ("[" * 40 + "]" * 40, "metadata" + ".0" * 32),
    ],
)
async def test_what_readers_would_not_agree_on_is_refused_by_its_path(sink, path, metadata, field):
    content = f'{{"event_type":"t","resource":"r","action":"a","user_id":1,"metadata":{metadata}}}'
    answer = await sink.post(None, path, content=content.encode())
    assert_problem(answer, 422, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert sink.writer.calls == []


async def test_metadata_may_have_32_levels(sink):
    deepest = json.loads('{"a":' * 32 + "1" + "}" * 32)
    assert (await sink.post(event_body(metadata=deepest))).status_code == 201
    batch = {"events": [event_body(metadata=deepest), event_body(metadata={"a": deepest})]}
    results = (await sink.post(batch, "/batch")).json()["results"]
    assert [result["status"] for result in results] == [201, 422]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"a": secret}'])
async def test_what_is_no_json_is_a_400(sink, path, content):
    answer = await sink.post(None, path, content=content)
    assert_problem(answer, 400, "malformed_json")
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content", [b"[]", b"null", b"1", b'"x"', b"{}"])
async def test_what_is_no_report_is_a_422(sink, path, content):
    assert_problem(await sink.post(None, path, content=content), 422, "invalid_request")


async def test_each_wrong_field_is_listed(sink):
    body = {"event_type": "", "resource": 5, "metadata": [], "user_id": 0, "severity": "urgent"}
    answer = await sink.post(body)
    assert_problem(answer, 422, "invalid_request")
    fields = {error["field"] for error in answer.json()["errors"]}
    assert fields == {"event_type", "resource", "action", "metadata", "user_id", "severity"}


async def test_the_future_is_refused(sink):
    answer = await sink.post(event_body(occurred_at="2026-11-22T12:06:00Z"))
    assert_problem(answer, 422, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == ["occurred_at"]
    answer = await sink.post(event_body(occurred_at="2026-11-22T12:04:00Z"))
    assert answer.status_code == 201


async def test_a_large_record_is_a_413(sink):
    answer = await sink.post(event_body(metadata={"x": "y" * MAX_RECORD_BYTES}))
    assert_problem(answer, 413, "content_too_large")
    assert str(MAX_RECORD_BYTES) in answer.json()["detail"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_large_body_is_a_413(sink, path):
    answer = await sink.post(None, path, content=b" " * (MAX_BODY_BYTES + 1))
    assert_problem(answer, 413, "body_too_large")


@pytest.mark.parametrize("path", PATHS)
async def test_without_the_gateways_identity_nothing_is_stored(sink, path):
    answer = await sink.post(event_body(user_id=1), path, context=None)
    assert_problem(answer, 401, "unauthenticated")
    assert sink.writer.calls == []


async def test_a_store_that_does_not_answer_is_a_503(sink):
    sink.writer.failure = StoreUnavailableError(retry_after=1)
    answer = await sink.post(event_body())
    assert_problem(answer, 503, "store_unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_a_batch_has_a_result_for_each_event(sink):
    sink.writer.failures["down"] = StoreUnavailableError()
    await sink.post(event_body(event_id="there"))
    await sink.post(event_body(event_id="taken"))
    events = [
        event_body(event_id="new", user_id=3, metadata={"ip_address": "203.0.113.7"}),
        event_body(event_id="there"),
        event_body(event_id="taken", action="b"),
        event_body(event_id="down"),
        event_body(event_type=""),
        "no event",
        event_body(event_id="new", user_id=3, metadata={"ip_address": "203.0.113.7"}),
        event_body(metadata={"x": "y" * MAX_RECORD_BYTES}),
    ]
    answer = await sink.post({"events": events}, "/batch")
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert result["message"] == "3 of 8 events stored"
    assert result["event_count"] == 3
    assert [item["index"] for item in result["results"]] == list(range(8))
    told = [(item["status"], item.get("error", {}).get("code")) for item in result["results"]]
    assert told == [
        (201, None),
        (200, None),
        (409, "event_id_conflict"),
        (503, "store_unavailable"),
        (422, "invalid_request"),
        (422, "invalid_request"),
        (200, None),
        (413, "content_too_large"),
    ]
    assert result["results"][0] == {"index": 0, "status": 201, "event_id": "new"}
    assert result["results"][4]["error"]["errors"][0]["field"] == "event_type"


async def test_flaws_of_one_event_are_that_events(sink):
    good = json.dumps(event_body(event_id="good"))
    bad = '{"event_type":"t","resource":"r","action":"a","metadata":{"n":[1e999],"n":2}}'
    content = f'{{"events":[{bad},{good},{bad}]}}'.encode()
    result = (await sink.post(None, "/batch", content=content)).json()
    assert [item["status"] for item in result["results"]] == [422, 201, 422]
    [error] = result["results"][2]["error"]["errors"]
    assert error["field"] == "metadata.n"
    assert list(sink.writer.entries) == ["good"]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b'{"events":[{}],"events":[{}]}', "events"),
        (b'{"events":[{}],"n":NaN}', "n"),
        (b'{"events":[]}', "events"),
        (b'{"events":{}}', "events"),
        (b'{"events":[' + b"{}," * 100 + b"{}]}", "events"),
    ],
)
async def test_what_is_wrong_outside_the_events_is_the_whole_batchs(sink, content, field):
    answer = await sink.post(None, "/batch", content=content)
    assert_problem(answer, 422, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_a_batch_under_a_key_is_stored_once(sink):
    batch = {"events": [event_body(), event_body(), event_body(event_id="mine")]}
    first = (await sink.post(batch, "/batch", idempotency_key="k")).json()
    second = (await sink.post(batch, "/batch", idempotency_key="k")).json()
    assert [item["status"] for item in first["results"]] == [201, 201, 201]
    assert [item["status"] for item in second["results"]] == [200, 200, 200]
    ids = [item["event_id"] for item in first["results"]]
    assert ids == [item["event_id"] for item in second["results"]]
    assert len(set(ids)) == 3


async def test_the_largest_batch_is_one_write(sink):
    answer = await sink.post({"events": [event_body()] * 100}, "/batch")
    assert answer.json()["event_count"] == 100
    assert [len(call) for call in sink.writer.calls] == [100]


async def test_masking_follows_the_policy():
    sink = AuditSink(frozenset({"phone"}))
    answer = await sink.post(event_body(metadata={"a": "jane@example.com 415-555-2671"}))
    assert answer.json()["metadata"] == {"a": "jane@example.com [phone]"}


async def test_nobody_counts_for_another(sink):
    leap = event_body(producer="ai:00", sequence=2**53 - 1)
    assert_problem(await sink.post(leap), 422, "invalid_request")
    assert sink.writer.entries == {}
    free = event_body(producer="ai:00", event_id="free")
    answer = await sink.post({"events": [leap, free]}, "/batch")
    refused, stored = answer.json()["results"]
    assert refused["status"] == 422
    assert [error["field"] for error in refused["error"]["errors"]] == ["producer"]
    assert stored["status"] == 201, "without a sequence, producer is free text"
