"""The intake queue: events of the bus and reports without a call, each message by itself."""

import asyncio
import importlib
import json
import logging
import sys
from types import SimpleNamespace

import pytest
import pytest_socket

from functions.audit.domain.dependencies import Control, Ingest
from functions.audit.domain.erasure import ControlService
from functions.audit.routes.intake import take
from servicekit.errors import AppError, StoreUnavailableError
from tests.fakes.ai_app import REQUEST_CONTEXT
from tests.fakes.audit import AuditSink, event_body

BUS_EVENT = {
    "version": "0",
    "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "detail-type": "audit.event",
    "source": "santaclaude.ai",
    "account": "123456789012",
    "time": "2026-11-22T11:59:58Z",
    "region": "us-east-1",
    "resources": [],
    "detail": {
        "specversion": "1.0",
        "id": "01KASM0T3ZJ8W6Q1XN5V7D2B4C",
        "source": "santaclaude.ai",
        "type": "audit.event",
        "time": "2026-11-22T11:59:58Z",
        "datacontenttype": "application/json",
        "correlationid": "chain-1",
        "tenant": "user:3",
        "acceptedat": "2026-11-22T11:59:59Z",
        "data": event_body(user_id=3, metadata={"ip_address": "203.0.113.7"}),
    },
}


def bus_event(event_type="audit.event", **fields):
    """What EventBridge sends of an event; fields are the envelope's."""
    detail = {**BUS_EVENT["detail"], "type": event_type, **fields}
    return {**BUS_EVENT, "detail-type": event_type, "detail": detail}


@pytest.fixture
def sink():
    return AuditSink()


async def taken(sink, content):
    await take(sink.intake, "m1", json.dumps(content))
    [event_id] = sink.writer.entries
    return sink.writer.record(event_id)


@pytest.mark.anyio
async def test_an_audit_event_of_the_bus(sink):
    record = await taken(sink, BUS_EVENT)
    assert record["event_id"] == BUS_EVENT["detail"]["id"]
    assert record["occurred_at"] == "2026-11-22T11:59:58.000000Z"
    assert record["reported_by"] == "events:santaclaude.ai"
    assert record["event_type"] == "t"
    assert record["personal"]["fields"] == ["metadata.ip_address"]


@pytest.mark.anyio
async def test_a_second_delivery_changes_nothing(sink):
    first = await taken(sink, BUS_EVENT)
    assert await taken(sink, BUS_EVENT) == first


@pytest.mark.anyio
async def test_the_producers_id_comes_first(sink):
    data = {**BUS_EVENT["detail"]["data"], "event_id": "mine"}
    assert (await taken(sink, bus_event(data=data)))["event_id"] == "mine"


@pytest.mark.anyio
async def test_what_the_envelope_knows_is_added_to_a_report(sink):
    told = bus_event(userid=4, requestid="r-1", data=event_body(user_id=None))
    record = await taken(sink, told)
    assert (record["user_id"], record["request_id"]) == (4, "r-1")


@pytest.mark.anyio
async def test_a_publishers_clock_that_is_ahead_is_not_believed(sink):
    record = await taken(sink, bus_event("user.updated", time="2027-01-01T00:00:00Z"))
    assert record["occurred_at"] == "2026-11-22T11:59:59.000000Z"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "told",
    [bus_event(target="user-events"), {**BUS_EVENT, "replay-name": "01KASM9C5B2H6K3T8Y4R1WQ7ZE"}],
    ids=["sent to one consumer", "replayed"],
)
async def test_what_is_sent_again_is_not_recorded_again(sink, told):
    await take(sink.intake, "m1", json.dumps(told))
    assert sink.writer.entries == {}


@pytest.mark.anyio
async def test_an_event_of_another_service_is_described(sink):
    data = {"user_id": 3, "session_id": "s", "email": "jane@example.com"}
    record = await taken(sink, bus_event("user.deleted", data=data, userid=5, requestid="r1"))
    assert record["event_type"] == "user.deleted"
    assert (record["resource"], record["action"]) == ("santaclaude.ai", "deleted")
    assert record["occurred_at"] == "2026-11-22T11:59:58.000000Z"
    assert (record["user_id"], record["request_id"], record["session_id"]) == (5, "r1", "s")
    assert record["personal"]["fields"] == ["metadata.email"]
    assert "jane" not in json.dumps(record)


@pytest.mark.anyio
async def test_metadata_of_an_event_is_where_personal_fields_are_known(sink):
    data = {"session_id": "s", "user_id": 3, "metadata": {"ip_address": "203.0.113.9", "n": 1}}
    record = await taken(sink, bus_event("browser.session.created", data=data))
    assert record["metadata"] == {"session_id": "s", "user_id": 3, "n": 1}
    assert record["personal"]["fields"] == ["metadata.ip_address"]


@pytest.mark.anyio
async def test_ids_of_another_kind_are_left_in_the_metadata(sink):
    data = {"user_id": "auth0|77", "request_id": ["r"]}
    record = await taken(sink, bus_event("user.updated", data=data))
    assert record["metadata"] == data
    assert "user_id" not in record


@pytest.mark.anyio
async def test_a_report_without_a_call(sink):
    report = {"event": event_body(event_id="e1"), "reported_by": "arn:aws:iam::1:role/x"}
    assert (await taken(sink, report))["reported_by"] == "arn:aws:iam::1:role/x"


POISON = {
    "no JSON": "{",
    "no report": "{}",
    "a list": "[]",
    "no detail": json.dumps({key: BUS_EVENT[key] for key in BUS_EVENT if key != "detail"}),
    "an event without an envelope": json.dumps({**BUS_EVENT, "detail": event_body()}),
    "a wrong event": json.dumps(bus_event(data={"event_type": "t"})),
    "a number that is none": json.dumps(BUS_EVENT).replace('"203.0.113.7"', "NaN"),
    "a lone surrogate": json.dumps({"event": event_body(x="\ud800"), "reported_by": "r"}),
    "too large": json.dumps(
        {"event": event_body(metadata={"x": "y" * 60_000}), "reported_by": "r"}
    ),
    "another's sequence": json.dumps(
        bus_event(data=event_body(producer="projectflow:00", sequence=9))
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("body", POISON.values(), ids=POISON)
async def test_poison_is_refused(sink, body):
    with pytest.raises((AppError, ValueError)):
        await take(sink.intake, "m1", body)
    assert sink.writer.entries == {}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (bus_event(data={"event_type": "t", "user_id": "jane"}), "ValidationError"),
        (bus_event(data=event_body(producer="jane", sequence=1)), "invalid_request"),
        ({"event": event_body(event_id="down"), "reported_by": "jane"}, "store_unavailable"),
    ],
)
async def test_the_reason_of_a_failure_is_logged_without_content(sink, caplog, content, code):
    sink.writer.failures["down"] = StoreUnavailableError()
    with caplog.at_level(logging.INFO), pytest.raises((AppError, ValueError)):
        await take(sink.intake, "m1", json.dumps(content))
    (line,) = caplog.records
    assert (line.levelname, line.message_id, line.error) == ("ERROR", "m1", code)
    assert line.exc_info is None
    assert "jane" not in str(vars(line))


@pytest.fixture
def entrypoint(sink, monkeypatch):
    """Imports an entrypoint over the fakes."""
    control = ControlService(sink.keys, sink.sealer, sink.queue, sink.clock)
    bootstrap = SimpleNamespace(
        ingest_from_environment=lambda: Ingest(sink.service),
        intake_from_environment=lambda: sink.intake,
        control_from_environment=lambda: Control(control),
    )
    monkeypatch.setitem(sys.modules, "functions.audit.bootstrap", bootstrap)
    # An event loop wakes itself by a pair of Unix sockets; the network stays closed.
    pytest_socket.enable_socket()
    pytest_socket.disable_socket(allow_unix_socket=True)
    imported = []

    def load(name):
        imported.append(f"functions.audit.entrypoints.{name}")
        return importlib.import_module(imported[-1]).handler

    yield load
    for name in imported:
        sys.modules.pop(name, None)


def sqs_event(*bodies):
    return {
        "Records": [
            {
                "messageId": str(index),
                "receiptHandle": "h",
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "md5OfBody": "",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:audit-intake",
                "awsRegion": "us-east-1",
            }
            for index, body in enumerate(bodies)
        ]
    }


def test_a_poison_message_fails_alone(sink, entrypoint):
    sink.writer.failures["down"] = StoreUnavailableError()
    good = [AuditSink.message(event_body(event_id=f"e{n}"), "r") for n in range(2)]
    down = AuditSink.message(event_body(event_id="down"), "r")
    handler = entrypoint("intake")
    answer = handler(sqs_event(good[0], POISON["no JSON"], down, good[1]), None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "1"}, {"itemIdentifier": "2"}]}
    assert sorted(sink.writer.entries) == ["e0", "e1"]


def test_of_a_batch_that_fails_every_message_is_named(entrypoint):
    answer = entrypoint("intake")(sqs_event("{", "["), None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "0"}, {"itemIdentifier": "1"}]}
    assert entrypoint("intake")(sqs_event("{"), None)["batchItemFailures"]


@pytest.mark.parametrize(
    ("name", "method", "path", "body", "status"),
    [
        ("ingest", "POST", "/api/v1/events", event_body(), 201),
        ("ingest", "POST", "/api/v1/events", {}, 422),
        ("control", "POST", "/api/v1/flush", None, 200),
        ("control", "DELETE", "/api/v1/subjects/3", None, 404),
    ],
)
def test_calls_come_as_events_of_the_gateway(entrypoint, name, method, path, body, status):
    headers = {"Content-Type": "application/json"}
    event = {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {key: [value] for key, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            **REQUEST_CONTEXT,
            "identity": {**REQUEST_CONTEXT["identity"], "sourceIp": "203.0.113.7"},
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        answer = entrypoint(name)(event, None)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert answer["statusCode"] == status, answer["body"]
    assert answer["isBase64Encoded"] is False
