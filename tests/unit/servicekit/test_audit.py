"""What an audit record holds, and what it must not."""

from datetime import datetime

import pytest

from servicekit.audit import MAX_METADATA_BYTES, AuditEntry, AuditTrail
from servicekit.context import RequestContext, Trace, enter_context
from tests.fakes.ai_app import Clock
from tests.fakes.memory import MemoryOutbox

pytestmark = pytest.mark.anyio

TRACE = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "01")
ENTRY = AuditEntry(
    event_type="user_action",
    resource="ai/sessions/1",
    action="ai.session.read",
    outcome="allowed",
    user_id=3,
    session_id="1",
    metadata={"project_id": 7},
)


@pytest.fixture
def outbox():
    return MemoryOutbox()


@pytest.fixture
def trail(outbox):
    return AuditTrail(outbox, Clock())


async def test_a_record_says_who_did_what_when_and_in_which_request(trail, outbox):
    principal = "arn:aws:sts::111122223333:assumed-role/santaclaude-dev-projectflow-api"
    enter_context(RequestContext("request-1", TRACE, principal))
    await trail.record(ENTRY)
    (event,) = outbox.events
    assert len(event.pop("event_id")) == 26
    assert datetime.fromisoformat(event.pop("occurred_at")).utcoffset() is not None
    assert event == {
        "event_type": "user_action",
        "resource": "ai/sessions/1",
        "action": "ai.session.read",
        "metadata": {
            "project_id": 7,
            "outcome": "allowed",
            "caller": "santaclaude-dev-projectflow-api",
            "traceparent": TRACE.traceparent,
        },
        "request_id": "request-1",
        "user_id": 3,
        "session_id": "1",
    }


async def test_what_is_not_known_is_absent(trail, outbox):
    await trail.record(
        AuditEntry(event_type="system_event", resource="x", action="y", outcome="denied")
    )
    (event,) = outbox.events
    assert set(event) == {
        "event_id",
        "occurred_at",
        "event_type",
        "resource",
        "action",
        "metadata",
    }
    assert event["metadata"] == {"outcome": "denied"}


async def test_each_record_is_an_event_of_its_own(trail, outbox):
    for _ in range(3):
        await trail.record(ENTRY)
    assert len({event["event_id"] for event in outbox.events}) == 3


@pytest.mark.parametrize(
    "metadata",
    [
        {"note": "x" * MAX_METADATA_BYTES},
        {"note": "ü" * (MAX_METADATA_BYTES // 2)},
        {"outcome": "allowed"},
        {"caller": "me"},
        {"number": float("nan")},
    ],
)
def test_what_does_not_belong_into_a_record_is_the_callers_error(metadata):
    with pytest.raises(ValueError):
        AuditEntry(
            event_type="user_action",
            resource="x",
            action="y",
            outcome="allowed",
            metadata=metadata,
        )
