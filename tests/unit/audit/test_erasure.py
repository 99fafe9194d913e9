"""Sealing on demand, and erasing a person: both are recorded before they happen."""

import pytest

from contracts.audit import examples
from functions.audit.routes.intake import take
from servicekit.errors import StoreUnavailableError
from tests.fakes.audit import CALLER, AuditSink, assert_problem, event_body

pytestmark = pytest.mark.anyio


@pytest.fixture
def sink():
    return AuditSink()


async def erase(sink, user_id=3):
    return await sink.call("DELETE", f"/api/v1/subjects/{user_id}", x_request_id="request-1")


async def stored_person(sink):
    body = event_body(event_id="e1", user_id=3, metadata={"ip_address": "203.0.113.7"})
    assert (await sink.post(body)).status_code == 201


async def test_an_erasure_is_recorded_and_holds_at_once(sink):
    await stored_person(sink)
    record = sink.writer.entries["e1"].record
    answer = await erase(sink)
    assert answer.status_code == 200, answer.text
    [(event, reported_by)] = sink.queue.sent
    assert answer.json() == {
        "message": "The personal fields of this person are erased",
        "user_id": 3,
        "event_id": event["event_id"],
    }
    assert (await sink.opened("e1"))["erased"] == ["metadata.ip_address"]
    assert sink.writer.entries["e1"].record == record
    assert reported_by == CALLER
    assert event == {
        "event_type": "security_event",
        "user_id": 3,
        "resource": "audit/subject/3",
        "action": "audit.erase_subject",
        "severity": "high",
        "event_id": event["event_id"],
        "occurred_at": event["occurred_at"],
        "request_id": "request-1",
    }


async def test_what_tells_of_it_is_a_valid_event(sink):
    await stored_person(sink)
    await erase(sink)
    await sink.call("POST", "/api/v1/flush")
    for event, reported_by in sink.queue.sent:
        await take(sink.intake, "m1", sink.message(event, reported_by))
        assert sink.writer.record(event["event_id"])["reported_by"] == CALLER


async def test_without_its_record_there_is_no_erasure(sink):
    await stored_person(sink)
    sink.queue.failure = StoreUnavailableError()
    assert_problem(await erase(sink), 503, "store_unavailable")
    assert "erased" not in await sink.opened("e1")


async def test_a_person_without_a_key_is_a_404_and_no_event(sink):
    assert_problem(await erase(sink), 404, "subject_not_found")
    await stored_person(sink)
    await erase(sink)
    assert_problem(await erase(sink), 404, "subject_not_found")
    assert len(sink.queue.sent) == 1


@pytest.mark.parametrize("user_id", ["0", "x", str(2**31)])
async def test_a_person_is_an_integer(sink, user_id):
    answer = await erase(sink, user_id)
    assert_problem(answer, 422, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == ["user_id"]


async def test_flush_seals_and_is_recorded(sink):
    sink.sealer.answer = {"sealed": 12, "checkpoint": examples.CHECKPOINT, "complete": True}
    answer = await sink.call("POST", "/api/v1/flush")
    assert answer.status_code == 200, answer.text
    assert answer.json() == examples.FLUSH_RESULT
    [(event, _)] = sink.queue.sent
    assert (event["event_type"], event["action"]) == ("system_event", "audit.flush")
    assert sink.sealer.calls == 1


async def test_flush_of_an_empty_log_has_no_checkpoint(sink):
    answer = await sink.call("POST", "/api/v1/flush", {})
    assert answer.json() == {"message": "Sealed 0 events", "sealed": 0, "checkpoint": None}


async def test_a_sealing_that_left_something_is_no_success(sink):
    sink.sealer.answer = {"sealed": 12, "checkpoint": None, "complete": False}
    assert_problem(await sink.call("POST", "/api/v1/flush"), 503, "sealing_failed")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/v1/flush"), ("DELETE", "/api/v1/subjects/3")]
)
async def test_without_the_gateways_identity_nothing_happens(sink, method, path):
    await stored_person(sink)
    assert_problem(await sink.call(method, path, context=None), 401, "unauthenticated")
    assert (sink.queue.sent, sink.sealer.calls) == ([], 0)
    assert "erased" not in await sink.opened("e1")
