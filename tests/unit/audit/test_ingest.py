"""What is stored of a report, and what makes a repetition a repetition."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
import rfc8785

from contracts.audit.v1 import MAX_RECORD_BYTES
from functions.audit.domain.errors import EventConflictError, KeyUnavailableError
from functions.audit.domain.ingest import Recorded, choose_event_id
from functions.audit.domain.models import NewEvent, Terms
from servicekit.clock import to_text
from servicekit.errors import (
    ContentTooLargeError,
    InternalError,
    InvalidRequestError,
    StoreUnavailableError,
)
from tests.fakes.audit import CALLER, AuditSink

pytestmark = pytest.mark.anyio

EVENT = NewEvent(
    event_id="e1",
    event_type="card.moved",
    resource="project/7/card/42",
    action="move",
    metadata={"to": "done", "n": 1.0, "ip_address": "203.0.113.7"},
    user_id=3,
    request_id="r1",
    session_id="s1",
    producer="caller:00",
    sequence=9,
    severity="low",
    data_classification="internal",
)


@pytest.fixture
def sink():
    return AuditSink()


async def record(sink, *events, reported_by=CALLER):
    return await sink.service.record(events, reported_by)


async def test_a_record_is_canonical_and_holds_what_was_sent(sink):
    now = sink.clock.now
    event = replace(EVENT, occurred_at=now)
    [outcome] = await record(sink, event)
    stored = sink.writer.record("e1")
    assert rfc8785.dumps(stored) == sink.writer.entries["e1"].record == outcome.record
    sealed = stored.pop("personal")
    assert (sealed["fields"], sealed.keys()) == (
        ["metadata.ip_address"],
        {"key_id", "fields", "ciphertext"},
    )
    assert stored == {
        "schema": 1,
        "event_id": "e1",
        "event_type": "card.moved",
        "timestamp": to_text(sink.writer.entries["e1"].accepted_at),
        "resource": "project/7/card/42",
        "action": "move",
        "metadata": {"to": "done", "n": 1},
        "reported_by": CALLER,
        "user_id": 3,
        "request_id": "r1",
        "session_id": "s1",
        "producer": "caller:00",
        "sequence": 9,
        "occurred_at": to_text(now),
        "severity": "low",
        "data_classification": "internal",
    }


async def test_what_is_not_there_is_not_stored(sink):
    await record(sink, NewEvent("e1", "t", "r", "a", {}))
    assert sink.writer.record("e1").keys() == {
        *("schema", "event_id", "event_type", "timestamp", "resource", "action", "metadata"),
        "reported_by",
    }


async def test_an_entry_is_found_by_its_terms_and_counted_by_its_producer(sink):
    await record(sink, EVENT)
    entry = sink.writer.entries["e1"]
    assert entry.terms == Terms(
        event_type="card.moved",
        resource="project/7/card/42",
        action="move",
        user_id=3,
        request_id="r1",
        session_id="s1",
        severity="low",
    )
    assert (entry.producer, entry.sequence) == ("caller:00", 9)


async def test_text_is_masked_and_the_masking_is_recorded(sink):
    metadata = {
        "note": "ask jane@example.com or 415-555-2671",
        "card": 4111111111111111,
        "location": "at jane@example.com's",
        "n": 1,
    }
    await record(sink, replace(EVENT, metadata=metadata))
    stored = sink.writer.record("e1")
    assert stored["metadata"] == {
        "note": "ask [email] or [phone]",
        "card": "[credit_card]",
        "n": 1,
    }
    assert stored["masked"] == [
        {"path": "metadata.card", "kinds": ["credit_card"]},
        {"path": "metadata.location", "kinds": ["email"]},
        {"path": "metadata.note", "kinds": ["email", "phone"]},
    ]
    assert (await sink.opened("e1"))["metadata"]["location"] == "at [email]'s"


async def test_without_a_person_personal_fields_are_masked(sink):
    metadata = {"ip_address": "203.0.113.7", "location": {"lat": 52.5}, "user_agent": None}
    await record(sink, replace(EVENT, user_id=None, metadata=metadata))
    stored = sink.writer.record("e1")
    assert stored["metadata"] == {
        "ip_address": "[personal]",
        "location": "[personal]",
        "user_agent": None,
    }
    assert [entry["kinds"] for entry in stored["masked"]] == [["personal"]] * 2
    assert sink.keys.finds == []


@pytest.mark.parametrize(
    "again",
    [
        EVENT,
        replace(EVENT, metadata={"ip_address": "203.0.113.7", "n": 1, "to": "done"}),
    ],
)
async def test_a_repetition_gets_what_is_stored(sink, again):
    [first] = await record(sink, EVENT)
    [second] = await record(sink, again)
    assert (first.created, second.created) == (True, False)
    assert second.record == first.record


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {**EVENT.metadata, "to": "todo"}},
        {"metadata": {**EVENT.metadata, "ip_address": "203.0.113.8"}},
        {"metadata": {"to": "done", "n": 1.0}},
        {"action": "copy"},
        {"user_id": 4},
        {"sequence": 10},
        {"severity": None},
    ],
)
async def test_another_report_under_the_same_id_is_a_conflict(sink, change):
    await record(sink, EVENT)
    [outcome] = await record(sink, replace(EVENT, **change))
    assert isinstance(outcome, EventConflictError)
    assert len(sink.writer.entries) == 1


async def test_who_reports_again_does_not_matter(sink):
    [first] = await record(sink, EVENT)
    [second] = await record(sink, EVENT, reported_by="arn:aws:iam::1:role/caller")
    assert second == Recorded("e1", first.record, created=False)


async def test_a_fingerprint_says_nothing_of_personal_fields_once_the_key_is_gone(sink):
    await record(sink, EVENT)
    fingerprint = sink.writer.entries["e1"].fingerprint
    stored = sink.writer.record("e1")
    del stored["reported_by"], stored["timestamp"], stored["schema"]
    guesses = ("203.0.113.7", {"metadata.ip_address": "203.0.113.7"})
    for guess in guesses:
        digest = hashlib.sha256(rfc8785.dumps(guess)).hexdigest()
        tried = hashlib.sha256(rfc8785.dumps({**stored, "personal": digest})).hexdigest()
        assert tried != fingerprint


async def test_ids_repeated_in_one_batch(sink):
    sink.writer.failures["bad"] = StoreUnavailableError()
    events = [
        EVENT,
        replace(EVENT, event_id="bad"),
        EVENT,
        replace(EVENT, action="copy"),
        replace(EVENT, event_id="bad"),
        replace(EVENT, event_id="e2"),
    ]
    outcomes = await record(sink, *events)
    assert [getattr(outcome, "created", outcome.__class__) for outcome in outcomes] == [
        True,
        StoreUnavailableError,
        False,
        EventConflictError,
        StoreUnavailableError,
        True,
    ]
    assert sink.writer.calls == [["e1", "bad", "e2"]]


async def test_one_bad_event_leaves_the_others(sink):
    late = sink.clock.now + timedelta(seconds=301)
    soon = sink.clock.now + timedelta(seconds=299)
    events = [
        replace(EVENT, event_id="late", occurred_at=late),
        replace(EVENT, event_id="large", metadata={"x": "y" * MAX_RECORD_BYTES}),
        replace(EVENT, event_id="soon", occurred_at=soon),
    ]
    refused, large, soon_recorded = await record(sink, *events)
    assert isinstance(refused, InvalidRequestError)
    assert refused.errors[0]["field"] == "occurred_at"
    assert isinstance(large, ContentTooLargeError)
    assert soon_recorded.created


@pytest.mark.parametrize("over", [0, 1])
async def test_the_limit_counts_bytes_of_the_record(sink, over):
    event = NewEvent("e1", "t", "r", "a", {"x": "ü"})
    [small] = await record(sink, event)
    room = MAX_RECORD_BYTES - len(small.record) + over
    larger = replace(event, event_id="e2", metadata={"x": "ü" * (1 + room // 2) + "a" * (room % 2)})
    [outcome] = await record(sink, larger)
    assert isinstance(outcome, ContentTooLargeError) == bool(over)
    if not over:
        assert len(outcome.record) == MAX_RECORD_BYTES


async def test_without_kms_events_without_personal_fields_are_stored(sink):
    sink.wrapping.available = False
    outcomes = await record(sink, EVENT, replace(EVENT, event_id="e2", metadata={}))
    assert isinstance(outcomes[0], KeyUnavailableError)
    assert outcomes[1].created


@pytest.mark.parametrize(
    ("failure", "expected"),
    [(StoreUnavailableError(), StoreUnavailableError), (RuntimeError("secret"), InternalError)],
)
async def test_a_store_that_fails_is_told_of_each_event(sink, failure, expected):
    sink.writer.failure = failure
    outcomes = await record(sink, EVENT, replace(EVENT, event_id="e2"))
    assert [type(outcome) for outcome in outcomes] == [expected] * 2


async def test_a_batch_asks_once_for_keys_and_writes_once(sink):
    events = [replace(EVENT, event_id=f"e{n}", user_id=1 + n % 3) for n in range(9)]
    await record(sink, *events)
    assert len(sink.keys.finds) == len(sink.writer.calls) == 1
    assert sink.wrapping.made == 3


async def test_nothing_to_store_is_not_written(sink):
    await record(sink, replace(EVENT, metadata={"x": "y" * MAX_RECORD_BYTES}))
    assert sink.writer.calls == []


def test_event_ids():
    assert choose_event_id("mine", "key", "p", 0) == "mine"
    derived = choose_event_id(None, "key", "p", 0)
    assert derived.startswith("ik-")
    assert len(derived) == 35
    assert derived == choose_event_id(None, "key", "p", 0)
    others = {
        choose_event_id(None, "key", "p", 1),
        choose_event_id(None, "key", "q", 0),
        choose_event_id(None, "yek", "p", 0),
    }
    assert derived not in others
    assert len(others) == 3
    made = choose_event_id(None, None, "p", 0)
    assert len(made) == 26
    assert made != choose_event_id(None, None, "p", 0)
