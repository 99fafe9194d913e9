"""Handlers of the record table's stream and of the archive, as Lambda calls them, against moto."""

import base64
import importlib
import json
import logging
import sys
from datetime import UTC, datetime, timedelta

import pytest
from botocore.session import get_session
from moto import mock_aws

from functions.audit.domain.cold import check_request, find_request, get_request, read_answer
from functions.audit.domain.models import Filter, Span
from tests.fakes.archive_bucket import parquet
from tests.fakes.audit_reading import entry

DAY = datetime(2026, 8, 10, tzinfo=UTC)
SPAN = Span(DAY, DAY + timedelta(days=1))
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "ENVIRONMENT": "local",
    "POWERTOOLS_SERVICE_NAME": "audit-sink-service",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "ARCHIVE_BUCKET": "archive",
    "DELIVERY_STREAM": "archive",
}


@pytest.fixture
def aws(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    root = logging.getLogger()
    before = root.handlers[:]
    with mock_aws():
        get_session().create_client("s3").create_bucket(Bucket="archive")
        yield get_session().create_client
    root.handlers[:] = before


@pytest.fixture
def handler_of(aws):
    """The handler of a process that starts now, by its entrypoint."""
    started = []

    def start(module: str):
        entrypoint = importlib.import_module(f"functions.audit.entrypoints.{module}")
        started.append(entrypoint)
        return entrypoint.handler

    yield start
    for entrypoint in started:
        entrypoint._runner.close()
        del sys.modules[entrypoint.__name__]


def stream_event(kind: str, record: bytes, **more) -> dict:
    image = {"record": {"B": base64.b64encode(record).decode()}}
    keys = {"pk": {"S": "EVENT#e1"}, "sk": {"S": "EVENT"}}
    names = {"INSERT": ("NewImage",), "REMOVE": ("OldImage",), "MODIFY": ("OldImage", "NewImage")}
    images = dict.fromkeys(names[kind], image)
    return {"Records": [{"eventName": kind, "dynamodb": {"Keys": keys, **images}, **more}]}


def test_a_stored_record_goes_to_the_archive_and_each_invocation_works(aws, handler_of):
    aws("firehose").create_delivery_stream(
        DeliveryStreamName="archive",
        S3DestinationConfiguration={
            "RoleARN": "arn:aws:iam::123456789012:role/firehose",
            "BucketARN": "arn:aws:s3:::archive",
        },
    )
    handler = handler_of("archive")
    record = entry("e1", DAY).record
    for _ in range(2):
        handler(stream_event("INSERT", record), None)
    s3 = aws("s3")
    delivered = [o["Key"] for o in s3.list_objects_v2(Bucket="archive")["Contents"]]
    assert len(delivered) == 2
    body = s3.get_object(Bucket="archive", Key=delivered[0])["Body"].read()
    assert json.loads(body)["record"].encode() == record


def test_what_happens_to_a_stored_record_is_a_metric(aws, handler_of, capsys):
    handler = handler_of("watch")
    handler(stream_event("MODIFY", b'{"secret":1}'), None)
    handler(stream_event("REMOVE", b'{"secret":1}'), None)
    metrics = aws("cloudwatch").list_metrics(Namespace="Santaclaude/local/audit")["Metrics"]
    assert {m["MetricName"] for m in metrics} == {"RecordsOverwritten", "RecordsRemoved"}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["level"], line["overwritten"], line["removed"]) for line in lines] == [
        ("ERROR", ["e1"], []),
        ("ERROR", [], ["e1"]),
    ]
    assert "secret" not in json.dumps(lines)


def test_the_archive_answers_from_invocation_to_invocation(aws, handler_of, tmp_path):
    stored = [entry(f"e{n}", DAY + timedelta(hours=n)) for n in range(3)]
    aws("s3").put_object(
        Bucket="archive",
        Key="events/day=2026-08-10/one.parquet",
        Body=parquet([e.record for e in stored], tmp_path),
    )
    handler = handler_of("cold")
    assert read_answer(handler(check_request(), None)).items == []
    for _ in range(2):
        page = read_answer(handler(find_request(Filter(), SPAN, None, 2), None))
        assert [found.position.event_id for found in page.items] == ["e2", "e1"]
    (found,) = read_answer(handler(get_request("e0", SPAN), None)).items
    assert found.record == stored[0].record
