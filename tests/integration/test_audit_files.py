"""Buckets, queue and metrics of the audit sink's reading half, against moto."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.session import get_session
from moto import mock_aws

from functions.audit.adapters.archive_files import ArchiveFiles
from functions.audit.adapters.duckdb_store import DuckdbStore
from functions.audit.adapters.export_files import S3ExportFiles
from functions.audit.adapters.firehose import FirehoseArchive
from functions.audit.adapters.queues import SqsExportQueue
from functions.audit.domain.archive import Archiver, Insertion
from functions.audit.domain.errors import ArchiveUnavailableError
from functions.audit.domain.models import Filter, Span
from servicekit.errors import StoreUnavailableError
from servicekit.metrics import CloudWatchMetrics
from tests.fakes.archive_bucket import parquet
from tests.fakes.audit_log import MemoryMetrics
from tests.fakes.audit_reading import entry

pytestmark = pytest.mark.anyio

DAY = datetime(2026, 8, 10, tzinfo=UTC)


@pytest.fixture
def aws(monkeypatch):
    """Makes clients of one mocked account."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield get_session().create_client


async def test_objects_of_the_days_are_read_from_the_bucket(aws, tmp_path):
    s3 = aws("s3")
    s3.create_bucket(Bucket="archive")
    entries = [entry(f"e{n:02}", DAY + timedelta(hours=n)) for n in range(30)]
    for n, stored in enumerate(entries):
        body = parquet([stored.record], tmp_path)
        day = stored.accepted_at + timedelta(days=n % 2)
        s3.put_object(Bucket="archive", Key=f"events/day={day:%Y-%m-%d}/{n}.parquet", Body=body)
    s3.put_object(Bucket="archive", Key="errors/format-conversion-failed/x", Body=b"x")
    folder = tmp_path / "cache"
    store = DuckdbStore(ArchiveFiles("archive", folder), folder)
    await store.check()
    page = await store.find(Filter(), Span(DAY, DAY + timedelta(days=1)), None, 100)
    assert [found.record for found in page.items] == [e.record for e in reversed(entries[:24])]


async def test_an_archive_that_is_not_there(aws, tmp_path):
    store = DuckdbStore(ArchiveFiles("nowhere", tmp_path / "cache"), tmp_path / "cache")
    with pytest.raises(ArchiveUnavailableError):
        await store.check()
    with pytest.raises(ArchiveUnavailableError):
        await store.find(Filter(), Span(DAY, DAY + timedelta(days=1)), None, 1)


async def test_bundles_are_stored_and_linked_for_an_hour_at_most(aws, tmp_path):
    s3 = aws("s3")
    s3.create_bucket(Bucket="exports")
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"zip" * 1000)
    files = S3ExportFiles("exports")
    assert await files.put("exp-1.zip", str(path)) == 3_000
    stored = s3.get_object(Bucket="exports", Key="exp-1.zip")
    assert stored["Body"].read() == path.read_bytes()
    assert stored["ContentType"] == "application/zip"
    query = parse_qs(urlsplit(await files.link("exp-1.zip", 86_400)).query)
    assert query["X-Amz-Expires"] == ["3600"]
    assert query["response-content-disposition"] == ['attachment; filename="exp-1.zip"']
    with pytest.raises(StoreUnavailableError):
        await S3ExportFiles("nowhere").put("exp-1.zip", str(path))


async def test_work_for_the_exporter_carries_an_id_and_nothing_else(aws):
    sqs = aws("sqs")
    url = sqs.create_queue(QueueName="exports")["QueueUrl"]
    await SqsExportQueue(url).send("exp-1")
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert json.loads(message["Body"]) == {"export_id": "exp-1"}
    with pytest.raises(StoreUnavailableError):
        await SqsExportQueue(f"{url}-gone").send("exp-1")


async def test_metrics_are_in_the_services_namespace(aws):
    metrics = CloudWatchMetrics("Santaclaude/local/audit")
    await metrics.put({"RecordsRemoved": 2.0, "OldestPendingSeconds": 1.5})
    found = aws("cloudwatch").list_metrics(Namespace="Santaclaude/local/audit")["Metrics"]
    assert {metric["MetricName"] for metric in found} == {"RecordsRemoved", "OldestPendingSeconds"}


async def test_rows_reach_the_delivery_stream_as_lines(aws):
    s3, firehose = aws("s3"), aws("firehose")
    s3.create_bucket(Bucket="archive")
    firehose.create_delivery_stream(
        DeliveryStreamName="archive",
        S3DestinationConfiguration={
            "RoleARN": "arn:aws:iam::123456789012:role/firehose",
            "BucketARN": "arn:aws:s3:::archive",
        },
    )
    records = [entry(f"e{n}", DAY).record for n in range(3)]
    insertions = [Insertion("EVENT#e", record) for record in records]
    assert await Archiver(FirehoseArchive("archive"), MemoryMetrics()).archive(insertions) == 1
    (delivered,) = s3.list_objects_v2(Bucket="archive")["Contents"]
    lines = s3.get_object(Bucket="archive", Key=delivered["Key"])["Body"].read().splitlines()
    assert [json.loads(line)["record"].encode() for line in lines] == records
