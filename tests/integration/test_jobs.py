"""From the table's stream to the queues, the message service and the worker, against moto."""

import importlib
import json
import logging
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from botocore.session import get_session
from moto import mock_aws

from contracts.messaging.client import MessageClient
from functions.ai.adapters.job_changes import changes_from
from functions.ai.adapters.sqs_jobs import SqsJobs
from functions.ai.adapters.turn_items import Retention, turn_item
from functions.ai.domain.errors import QueueUnavailableError
from functions.ai.domain.job_ports import JobChange, JobMessage, SummaryWanted
from functions.ai.domain.turns import Failure, Job, SummaryDue, Turn
from functions.ai.routes.job_queue import delivery_from, message_from
from servicekit import entries
from servicekit.dynamodb import to_attributes
from tests.fakes.jobs import DISPATCH_ENVIRONMENT

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
JOB = Job("normal", "r-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
QUEUED = Turn("t1", "s1", 5, 7, 3, "bedrock", "m", 1, "queued", NOW, NOW, job=JOB)


def change(before: Turn | None, after: Turn, **fields: Any) -> dict[str, Any]:
    """A record of the table's stream."""
    images = {
        name: to_attributes(turn_item(turn, Retention(60, 60)))
        for name, turn in (("OldImage", before), ("NewImage", after))
        if turn
    }
    keys = {name: images["NewImage"][name] for name in ("pk", "sk")}
    return {
        "eventName": "MODIFY" if before else "INSERT",
        "dynamodb": {"Keys": keys, **images},
        **fields,
    }


def test_changes_are_read_from_the_stream():
    running = replace(QUEUED, status="running", lease_expires_at=100)
    failed = replace(running, status="failed", failure=Failure("c", "t", 503))
    records = [
        change(None, QUEUED),
        change(QUEUED, running),
        # A lease that was renewed is no news, nor is a chat, nor what TTL removed.
        change(running, replace(running, lease_expires_at=200)),
        change(None, replace(QUEUED, job=None)),
        {"eventName": "REMOVE", "dynamodb": {"Keys": {"sk": {"S": "TURN"}}}},
        change(running, failed),
    ]
    assert changes_from(records) == [
        JobChange(None, QUEUED),
        JobChange("queued", running),
        JobChange("running", failed),
    ]


def test_a_summary_that_is_due_is_read_once():
    chat = replace(QUEUED, status="running", job=None)
    due = SummaryDue(8, "r-2", None)
    left, ended = (
        replace(turn, status="completed", summary=due)
        for turn in (chat, replace(QUEUED, status="running"))
    )
    records = [
        change(chat, left),
        change(chat, replace(left, summary=None)),
        # What it cost came later.
        change(left, replace(left, cost="0.1")),
        change(replace(QUEUED, status="running"), ended),
    ]
    assert changes_from(records) == [
        SummaryWanted("t1", due),
        JobChange("running", ended),
        SummaryWanted("t1", due),
    ]


@pytest.fixture
def aws(monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(entries, "_FIRST_PAUSE_SECONDS", 0)
    with mock_aws():
        yield get_session().create_client


@pytest.fixture
def urls(aws):
    sqs = aws("sqs")
    return {
        priority: sqs.create_queue(QueueName=f"santaclaude-local-ai-jobs-{priority}")["QueueUrl"]
        for priority in ("high", "normal")
    }


def received(aws, url: str, **options: Any) -> list[dict[str, Any]]:
    """Messages as Lambda hands them on."""
    answer = aws("sqs").receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"], **options
    )
    arn = f"arn:aws:sqs:us-east-1:123456789012:{url.rpartition('/')[2]}"
    return [
        {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "eventSourceARN": arn,
        }
        for message in answer.get("Messages", [])
    ]


@pytest.fixture
def service(monkeypatch) -> list[dict[str, Any]]:
    """The events that the message service took; where it is, is a parameter."""
    taken: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        events = json.loads(request.content)["events"]
        taken.extend(events)
        results = [{"index": n, "status": 202} for n in range(len(events))]
        body = {"message": "m", "event_count": len(events), "results": results}
        return httpx.Response(202, json=body)

    monkeypatch.setattr(
        "functions.ai.adapters.message_service._make_client",
        lambda url: MessageClient(url, transport=httpx.MockTransport(answer)),
    )
    name = DISPATCH_ENVIRONMENT["MESSAGING_URL_PARAMETER"]
    get_session().create_client("ssm").put_parameter(
        Name=name, Value="http://messaging", Type="String"
    )
    return taken


@pytest.mark.anyio
async def test_what_is_sent_is_what_the_worker_reads(aws, urls):
    queues = SqsJobs(urls)
    messages = [JobMessage(f"t{n}", "r", JOB.traceparent) for n in range(23)]
    await queues.send("normal", messages)
    await queues.send("high", [JobMessage("urgent")])
    found: list[dict[str, Any]] = []
    while batch := received(aws, urls["normal"]):
        found += batch
    read = {message_from(record) for record in found}
    assert read == set(messages)
    assert {delivery_from(record).receives for record in found} == {1}
    (urgent,) = received(aws, urls["high"])
    assert json.loads(urgent["body"]) == {
        "turn_id": "urgent",
        "request_id": None,
        "traceparent": None,
        "task": "turn",
    }
    # One that was sent before there were others.
    old = urgent | {"body": '{"turn_id": "t"}'}
    assert message_from(old) == JobMessage("t")


@pytest.mark.anyio
async def test_a_message_is_hidden_and_shown(aws, urls):
    queues = SqsJobs(urls)
    await queues.send("high", [JobMessage("t1")])
    (record,) = received(aws, urls["high"], VisibilityTimeout=600)
    await queues.hide(delivery_from(record), 0)
    (again,) = received(aws, urls["high"])
    assert delivery_from(again).receives == 2
    await queues.hide(delivery_from(again), 600)
    assert received(aws, urls["high"]) == []


class Refusing:
    """An AWS client whose batches are refused in part, as often as `answers` say."""

    def __init__(self, *answers: list[int]) -> None:
        self.answers = list(answers)
        self.calls: list[list[Any]] = []

    def _refused(self, entries: list[Any]) -> list[int]:
        self.calls.append(entries)
        return self.answers.pop(0) if self.answers else []

    def send_message_batch(self, *, QueueUrl: str, Entries: list[Any]) -> Any:  # noqa: N803
        refused = self._refused([json.loads(entry["MessageBody"])["turn_id"] for entry in Entries])
        return {"Failed": [{"Id": Entries[n]["Id"], "Code": "InternalError"} for n in refused]}


@pytest.mark.anyio
async def test_only_what_was_refused_is_sent_again(aws, urls):
    client = Refusing([1, 2], [0])
    await SqsJobs(urls, lambda: client).send("high", [JobMessage(t) for t in "abc"])
    assert client.calls == [["a", "b", "c"], ["b", "c"], ["b"]]


@pytest.mark.anyio
async def test_what_is_refused_for_good_raises(aws, urls):
    client = Refusing(*[[0]] * entries.ATTEMPTS)
    with pytest.raises(QueueUnavailableError):
        await SqsJobs(urls, lambda: client).send("high", [JobMessage("a")])


@pytest.mark.anyio
async def test_a_queue_that_is_not_there_is_unavailable(aws, urls):
    aws("sqs").delete_queue(QueueUrl=urls["high"])
    with pytest.raises(QueueUnavailableError):
        await SqsJobs(urls).send("high", [JobMessage("a")])


DISPATCH = "functions.ai.entrypoints.dispatch"


@pytest.fixture
def handler(aws, urls, service, monkeypatch):
    environment = DISPATCH_ENVIRONMENT | {f"{p.upper()}_QUEUE_URL": urls[p] for p in urls}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    module = importlib.import_module(DISPATCH)
    yield module.handler
    module._runner.close()
    sys.modules.pop(DISPATCH, None)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_new_job_becomes_a_message_and_an_event(aws, urls, service, handler):
    urgent = replace(QUEUED, turn_id="t2", job=replace(JOB, priority="high"))
    running = replace(QUEUED, status="running")
    handler(
        {"Records": [change(None, QUEUED), change(None, urgent), change(QUEUED, running)]}, None
    )
    (normal,) = received(aws, urls["normal"])
    (high,) = received(aws, urls["high"])
    assert json.loads(normal["body"]) == {
        "turn_id": "t1",
        "request_id": "r-1",
        "traceparent": JOB.traceparent,
        "task": "turn",
    }
    assert message_from(high).turn_id == "t2"
    assert [event["id"] for event in service] == ["t1-1-queued", "t2-1-queued", "t1-1-running"]
    assert {event["correlation_id"] for event in service} == {"t1", "t2"}


def test_a_summary_that_is_due_becomes_a_message_and_no_event(aws, urls, service, handler):
    chat = replace(QUEUED, status="running", job=None)
    due = SummaryDue(8, "r-2", JOB.traceparent)
    handler(
        {"Records": [change(chat, replace(chat, status="completed", summary=due))]},
        None,
    )
    (sent,) = received(aws, urls["normal"])
    assert message_from(sent) == JobMessage("t1", "r-2", JOB.traceparent, "summary")
    assert service == []


def test_what_could_not_be_sent_fails_the_batch(aws, urls, handler):
    aws("sqs").delete_queue(QueueUrl=urls["normal"])
    with pytest.raises(QueueUnavailableError):
        handler({"Records": [change(None, QUEUED)]}, None)
