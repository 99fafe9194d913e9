"""The audit sink through the deployed stack: stored, found, sealed, proven, exported, erased."""

import base64
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import duckdb
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from functions.audit.adapters.archive_files import CacheLimits
from tests.conftest import ROOT
from tests.e2e.conftest import REGION, eventually, problem

VERIFIER = ROOT / "contracts" / "audit" / "audit_verify.py"


def event(**fields) -> dict:
    return {
        "event_type": "user_action",
        "user_id": 7,
        "resource": f"project/{uuid4()}",
        "action": "update",
        "metadata": {"field": "title"},
        **fields,
    }


def record(audit, path="/api/v1/events", **fields) -> dict:
    answer = audit.post(path, json=event(**fields))
    assert answer.status_code == 201, answer.text
    return answer.json()


def flush(audit) -> dict:
    answer = audit.post("/api/v1/flush")
    assert answer.status_code == 200, answer.text
    return answer.json()


def verify(*arguments, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The one-file verifier, with nothing of this repository in reach."""
    lonely = cwd / "audit_verify.py"
    lonely.write_bytes(VERIFIER.read_bytes())
    return subprocess.run(
        [sys.executable, "-I", "-S", str(lonely), *map(str, arguments)],
        cwd=cwd,
        env={},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def public_key(audit) -> str:
    return audit.get("/api/v1/checkpoints/latest").json()["public_key"]


@pytest.fixture
def as_function(cloud):
    """Clients under a deployed function's role."""

    def make(function: str, service: str):
        role = cloud.role(f"santaclaude-local-audit-{function}")
        import boto3

        return boto3.client(
            service,
            endpoint_url=cloud.aws,
            region_name=REGION,
            aws_access_key_id=role.access_key,
            aws_secret_access_key=role.secret_key,
            aws_session_token=role.token,
            config=Config(retries={"total_max_attempts": 1}),
        )

    return make


def physical(cloud, kind: str, part: str) -> str:
    """The name of a deployed resource."""
    resources = (
        cloud.client("cloudformation")
        .get_paginator("list_stack_resources")
        .paginate(StackName="santaclaude-local-audit")
        .build_full_result()["StackResourceSummaries"]
    )
    (found,) = {
        resource["PhysicalResourceId"]
        for resource in resources
        if resource["ResourceType"] == kind
        and part.lower() in resource["LogicalResourceId"].lower()
    }
    return found


# Found at once.


def test_a_record_is_found_at_once_by_everything_it_is_found_by(audit):
    tag = uuid4().hex
    stored = record(
        audit,
        "/api/v1/events/security",
        resource=f"door/{tag}/lock",
        request_id=f"r-{tag}",
        session_id=f"s-{tag}",
        user_id=4711,
        severity="critical",
    )
    assert stored["event_type"] == "security_event"
    assert stored["metadata"]["severity"] == "critical"
    assert audit.get(f"/api/v1/events/{stored['event_id']}").json() == stored
    for query in (
        {},
        {"resource": f"door/{tag}/lock"},
        {"resource_prefix": f"door/{tag}/"},
        {"request_id": f"r-{tag}"},
        {"session_id": f"s-{tag}"},
        {"user_id": 4711, "severity": "critical"},
        {"event_type": "security_event", "action": "update"},
        {"start_time": stored["timestamp"]},
    ):
        page = audit.get("/api/v1/events", params=query).json()
        assert stored in page["events"], query
    assert audit.get("/api/v1/events/recent").json()["count"] >= 1


def test_pages_follow_each_other(audit):
    resource = f"project/{uuid4()}"
    batch = [event(resource=resource) for _ in range(25)]
    answer = audit.post("/api/v1/events/batch", json={"events": batch})
    assert answer.json()["event_count"] == 25
    seen, query = [], {"resource": resource, "limit": 10}
    while True:
        page = audit.get("/api/v1/events", params=query).json()
        seen += [found["event_id"] for found in page["events"]]
        if not page["has_more"]:
            break
        query["cursor"] = page["next_cursor"]
    stored = [item["event_id"] for item in answer.json()["results"]]
    assert sorted(seen) == sorted(stored)
    other = audit.get("/api/v1/events", params={"action": "read", "cursor": query["cursor"]})
    problem(other, 400, "invalid_cursor")


def test_a_repetition_is_one_record_and_another_event_is_refused(audit):
    report = event(event_id=f"e-{uuid4()}")
    first = audit.post("/api/v1/events", json=report)
    again = audit.post("/api/v1/events", json=report)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    problem(
        audit.post("/api/v1/events", json=report | {"action": "delete"}), 409, "event_id_conflict"
    )
    keyed = event()
    answers = [
        audit.post("/api/v1/events", json=keyed, headers={"Idempotency-Key": report["event_id"]})
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert [answer.status_code for answer in answers] == [201, 200]


def test_a_batch_answers_for_each(audit):
    same = f"e-{uuid4()}"
    record(audit, event_id=same)
    answer = audit.post(
        "/api/v1/events/batch",
        json={"events": [event(), event(event_id=same, action="other"), event()]},
    )
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [item["status"] for item in results] == [201, 409, 201]
    assert results[1]["error"]["code"] == "event_id_conflict"
    assert answer.json()["event_count"] == 2


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ('{"a": ', 400, "malformed_json"),
        ('{"n": 9007199254740992}', 422, "metadata.n"),
        ('{"n": NaN}', 422, "metadata.n"),
        ('{"s": "\\ud800"}', 422, "metadata.s"),
        ('{"d": {"k": 1, "k": 2}}', 422, "metadata.d.k"),
        ('{"deep": ' + "[" * 60 + "]" * 60 + "}", 422, "metadata.deep"),
        ('{"big": "' + "x" * 61_000 + '"}', 413, "60000"),
    ],
)
def test_what_no_json_reader_agrees_on_is_refused_with_its_place(audit, body, status, told):
    rest = json.dumps({"event_type": "x", "resource": "r", "action": "a"})[1:]
    answer = audit.post(
        "/api/v1/events",
        content=f'{{"metadata": {body}, {rest}',
        headers={"Content-Type": "application/json"},
    )
    assert told in json.dumps(problem(answer, status))


@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [
        ("security", {"severity": "very high"}, "severity"),
        ("user", {"user_id": None}, "user_id"),
        ("data", {"data_classification": "secret"}, "data_classification"),
        ("system", {"occurred_at": "2999-01-01T00:00:00Z"}, "occurred_at"),
    ],
)
def test_wrong_fields_are_named(audit, path, fields, field):
    answer = audit.post(f"/api/v1/events/{path}", json=event(**fields))
    assert field in json.dumps(problem(answer, 422)["errors"])


def test_personal_text_is_masked_and_what_was_is_told(audit):
    stored = record(
        audit, metadata={"note": "write to ann@example.org or pay with 4111 1111 1111 1111"}
    )
    assert "ann@" not in json.dumps(stored)
    assert "4111" not in json.dumps(stored)
    (masked,) = stored["masked"]
    assert masked == {"path": "metadata.note", "kinds": ["credit_card", "email"]} or set(
        masked["kinds"]
    ) == {"email", "credit_card"}


# Sealed and proven.


def test_a_record_is_sealed_proven_and_the_log_only_grows(audit, tmp_path):
    first = record(audit)
    problem_of_first = audit.get(f"/api/v1/events/{first['event_id']}/proof")
    if problem_of_first.status_code != 200:  # the minute's sealing may have come between
        assert problem_of_first.headers["retry-after"]
        problem(problem_of_first, 409, "not_sealed_yet")
    before = flush(audit)["checkpoint"]
    record(audit)
    after = flush(audit)["checkpoint"]
    assert after["size"] > before["size"]
    proof = audit.get(f"/api/v1/events/{first['event_id']}/proof")
    assert proof.status_code == 200, proof.text
    (tmp_path / "proof.json").write_text(proof.text)
    checked = verify("proof", "proof.json", "--key", public_key(audit), cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tampered = proof.json()
    tampered["record"] = tampered["record"].replace('"update"', '"delete"')
    (tmp_path / "proof.json").write_text(json.dumps(tampered))
    assert verify("proof", "proof.json", "--key", public_key(audit), cwd=tmp_path).returncode == 1
    consistency = audit.get(
        "/api/v1/checkpoints/consistency", params={"from": before["size"], "to": after["size"]}
    )
    assert consistency.status_code == 200, consistency.text
    (tmp_path / "grown.json").write_text(consistency.text)
    checked = verify("consistency", "grown.json", "--key", public_key(audit), cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    problem(audit.get("/api/v1/events/no-such-event/proof"), 404)
    problem(audit.get("/api/v1/checkpoints/consistency", params={"from": 1, "to": 10**9}), 404)


def test_many_sealers_at_once_make_one_log(audit, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda _: record(audit)["event_id"], range(24)))
        checkpoints = [
            answer["checkpoint"] for answer in pool.map(lambda _: flush(audit), range(4))
        ]
    newest = max(checkpoints, key=lambda checkpoint: checkpoint["size"])
    indexes = set()
    for event_id in stored:
        proof = audit.get(f"/api/v1/events/{event_id}/proof").json()
        assert proof["tree_size"] >= newest["size"]
        indexes.add(proof["leaf_index"])
    assert len(indexes) == len(stored)
    stats = audit.get("/api/v1/stats").json()
    assert stats["tree_size"] >= newest["size"]
    assert stats["running"] is True


def export(audit, tmp_path, **body) -> Path:
    answer = audit.post("/api/v1/exports", json=body)
    assert answer.status_code == 202, answer.text
    return fetched(audit, answer.json()["export_id"], tmp_path)


def fetched(audit, export_id, tmp_path) -> Path:
    """The bundle of an export, once it is made."""
    path = f"/api/v1/exports/{export_id}"
    done = eventually(
        lambda: (found := audit.get(path).json())["status"] in {"completed", "failed"} and found, 90
    )
    assert done["status"] == "completed", done
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(httpx.get(done["download_url"]).content)
    return bundle


def test_an_export_is_verified_by_one_file_elsewhere_and_a_changed_byte_is_told(audit, tmp_path):
    started = datetime.now(UTC)
    resource = f"project/{uuid4()}"
    for _ in range(5):
        record(audit, resource=resource)
    flush(audit)
    span = {
        "start_time": (started - timedelta(seconds=1)).isoformat(),
        "end_time": datetime.now(UTC).isoformat(),
    }
    bundle = export(audit, tmp_path, **span, filter={"resource": resource})
    checked = verify("bundle.zip", "--key", public_key(audit), cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "5" in checked.stdout
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
        note = archive.comment
    changed = tmp_path / "changed.zip"
    for name, old, new in (
        ("records.jsonl", b"update", b"delete"),
        ("checkpoint", b"\n", b"0\n"),
        ("schema.json", b"{", b"{ "),
        ("manifest.json", b'"created_at":"20', b'"created_at":"21'),
    ):
        assert old in files[name]
        with zipfile.ZipFile(changed, "w") as archive:
            for entry, content in files.items():
                archive.writestr(entry, content.replace(old, new, 1) if entry == name else content)
            archive.comment = note
        told = verify("changed.zip", "--key", public_key(audit), cwd=tmp_path)
        assert told.returncode == 1, (name, told.stdout)
    content = bundle.read_bytes()
    for place in range(0, len(content), len(content) // 40):
        changed.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        told = verify("changed.zip", "--key", public_key(audit), cwd=tmp_path)
        # Refused, or no ZIP any more.
        assert told.returncode in {1, 2}, (place, told.stdout)
    assert audit.get("/api/v1/exports").json()["exports"]


# Nobody changes what is stored.


def test_only_ingest_puts_and_nobody_changes(audit, as_function):
    stored = record(audit)
    table = "santaclaude-local-audit-records"
    key = {"pk": {"S": f"EVENT#{stored['event_id']}"}, "sk": {"S": "EVENT"}}
    for function in ("ingest", "intake", "query", "control", "sealer", "exporter", "reconciler"):
        dynamodb = as_function(function, "dynamodb")
        attempts = [
            lambda d=dynamodb: d.update_item(
                TableName=table,
                Key=key,
                UpdateExpression="SET fingerprint = :x",
                ExpressionAttributeValues={":x": {"S": "x"}},
            ),
            lambda d=dynamodb: d.delete_item(TableName=table, Key=key),
            lambda d=dynamodb: d.batch_write_item(
                RequestItems={table: [{"DeleteRequest": {"Key": key}}]}
            ),
        ]
        if function not in {"ingest", "intake"}:
            attempts.append(lambda d=dynamodb: d.put_item(TableName=table, Item=key))
        for attempt in attempts:
            with pytest.raises(ClientError, match="AccessDenied"):
                attempt()


def test_evidence_is_written_once_and_not_removed(cloud, audit, as_function):
    record(audit)
    size = flush(audit)["checkpoint"]["size"]
    bucket = physical(cloud, "AWS::S3::Bucket", "Evidence")
    s3 = as_function("sealer", "s3")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key=f"checkpoint/{size}", Body=b"x", IfNoneMatch="*")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=bucket, Key=f"checkpoint/{size}")
    root = cloud.client("s3")
    lock = root.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    assert lock["ObjectLockEnabled"] == "Enabled"
    (version,) = root.list_object_versions(Bucket=bucket, Prefix=f"checkpoint/{size}")["Versions"]
    with pytest.raises(ClientError):
        root.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])


def test_an_overwrite_that_iam_cannot_forbid_raises_an_alarm(cloud, audit):
    stored = record(audit)
    flush(audit)
    dynamodb = cloud.client("dynamodb")
    table = "santaclaude-local-audit-records"
    key = {"pk": {"S": f"EVENT#{stored['event_id']}"}, "sk": {"S": "EVENT"}}
    item = dynamodb.get_item(TableName=table, Key=key)["Item"]
    forged = item["record"]["B"].replace(b'"update"', b'"delete"')
    dynamodb.put_item(TableName=table, Item=item | {"record": {"B": forged}})

    def counted(metric):
        now = datetime.now(UTC)
        points = cloud.client("cloudwatch").get_metric_statistics(
            Namespace="Santaclaude/local/audit",
            MetricName=metric,
            StartTime=now - timedelta(minutes=10),
            EndTime=now + timedelta(minutes=1),
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        return sum(point["Sum"] for point in points)

    eventually(lambda: counted("RecordsOverwritten") >= 1)
    # What was overwritten is not handed out as proven.
    problem(audit.get(f"/api/v1/events/{stored['event_id']}/proof"), 500, "log_inconsistent")
    dynamodb.put_item(TableName=table, Item=item)
    dynamodb.delete_item(TableName=table, Key=key)
    eventually(lambda: counted("RecordsRemoved") >= 1)
    dynamodb.put_item(TableName=table, Item=item)
    alarms = cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    watched = {alarm["MetricName"] for alarm in alarms}
    assert {"RecordsOverwritten", "RecordsRemoved", "OldestPendingSeconds", "Gaps"} <= watched


@pytest.fixture
def sender(cloud):
    """The AI service's sender, with every right that a policy of its own could give it."""
    role = "santaclaude-local-ai-audit"
    everything = {"Effect": "Allow", "Action": "execute-api:*", "Resource": "*"}
    cloud.client("iam").put_role_policy(
        RoleName=role,
        PolicyName="everything",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [everything]}),
    )
    yield cloud.signed(role)
    cloud.client("iam").delete_role_policy(RoleName=role, PolicyName="everything")


def test_who_may_report_and_who_may_read(cloud, audit, sender):
    stored = record(audit)
    url = cloud.execute_api("audit")
    answer = httpx.post(f"{url}/api/v1/events", json=event(), auth=sender, timeout=60)
    assert answer.status_code == 201, answer.text
    assert answer.json()["reported_by"].endswith("santaclaude-local-ai-audit")
    for method, path in (
        ("GET", f"/api/v1/events/{stored['event_id']}"),
        ("GET", "/api/v1/events"),
        ("POST", "/api/v1/flush"),
        ("POST", "/api/v1/exports"),
        ("DELETE", "/api/v1/subjects/7"),
    ):
        refused = httpx.request(method, f"{url}{path}", auth=sender, timeout=60)
        assert refused.status_code == 403, (path, refused.text)
        assert "explicit deny in a resource-based policy" in refused.text
    problem(httpx.post(f"{url}/api/v1/events", json=event(), timeout=60), 403)


# Erasure.


def test_erasing_a_person_leaves_every_proof(cloud, audit, tmp_path):
    person = int(uuid4().int % 1_000_000) + 1_000
    stored = record(audit, user_id=person, metadata={"ip_address": "203.0.113.9", "page": 1})
    assert stored["metadata"] == {"ip_address": "203.0.113.9", "page": 1}
    raw = cloud.client("dynamodb").get_item(
        TableName="santaclaude-local-audit-records",
        Key={"pk": {"S": f"EVENT#{stored['event_id']}"}, "sk": {"S": "EVENT"}},
    )["Item"]
    assert b"203.0.113.9" not in raw["record"]["B"]
    flush(audit)
    erased = audit.delete(f"/api/v1/subjects/{person}")
    assert erased.status_code == 200, erased.text
    after = audit.get(f"/api/v1/events/{stored['event_id']}").json()
    assert after["metadata"] == {"page": 1}
    assert after["erased"] == ["metadata.ip_address"]
    (tmp_path / "proof.json").write_text(
        audit.get(f"/api/v1/events/{stored['event_id']}/proof").text
    )
    checked = verify("proof", "proof.json", "--key", public_key(audit), cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    told = eventually(
        lambda: audit.get(f"/api/v1/events/{erased.json()['event_id']}").status_code == 200
    )
    assert told
    problem(audit.delete("/api/v1/subjects/999999999"), 404)


# The long term.


def archived(cloud, day: str) -> dict[str, str]:
    """Records by id in the archive's files of a day."""
    bucket = physical(cloud, "AWS::S3::Bucket", "Archive")
    s3 = cloud.client("s3")
    found: dict[str, str] = {}
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"events/day={day}/")
    for page in pages:
        for item in page.get("Contents", []):
            body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            path = Path(f"/tmp/{uuid4()}.parquet")
            path.write_bytes(body)
            rows = duckdb.sql(f"SELECT event_id, record FROM '{path}'").fetchall()
            path.unlink()
            found |= dict(rows)
    return found


def test_a_days_archive_is_the_days_records(cloud, audit):
    marks = [record(audit)["event_id"] for _ in range(3)]
    today = datetime.now(UTC).strftime("%Y-%m-%d")

    def stored() -> dict[str, str]:
        pages = (
            cloud.client("dynamodb")
            .get_paginator("scan")
            .paginate(TableName="santaclaude-local-audit-records")
        )
        return {
            item["pk"]["S"].removeprefix("EVENT#"): item["record"]["B"].decode()
            for page in pages
            for item in page["Items"]
        }

    eventually(lambda: set(marks) <= set(archived(cloud, today)))
    eventually(lambda: set(archived(cloud, today)) == set(stored()))
    assert archived(cloud, today) == stored()


def parquet(ids: Sequence[str], day: datetime, path: Path) -> bytes:
    """Records as Firehose writes them, a second after each other; an id again is its record."""
    first: dict[str, int] = {}
    rows = []
    for event_id in ids:
        second = first.setdefault(event_id, len(first))
        moment = (day + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        document = {
            "schema": 1, "event_id": event_id, "event_type": "user_action", "timestamp": moment,
            "resource": "museum/1", "action": "look", "metadata": {}, "reported_by": "curator",
        }  # fmt: skip
        rows.append((event_id, moment, json.dumps(document, sort_keys=True, separators=(",", ":"))))
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE t (event_id VARCHAR, timestamp VARCHAR, event_type VARCHAR, user_id BIGINT,"
        " resource VARCHAR, action VARCHAR, request_id VARCHAR, session_id VARCHAR,"
        " severity VARCHAR, producer VARCHAR, sequence BIGINT, record VARCHAR)"
    )
    connection.executemany(
        "INSERT INTO t VALUES (?, ?, 'user_action', NULL, 'museum/1', 'look', NULL, NULL, NULL,"
        " NULL, NULL, ?)",
        rows,
    )
    connection.execute(f"COPY t TO '{path}' (FORMAT PARQUET, COMPRESSION snappy)")
    return path.read_bytes()


@contextmanager
def in_archive(cloud, day: datetime, content: bytes) -> Iterator[None]:
    bucket = physical(cloud, "AWS::S3::Bucket", "Archive")
    key = f"events/day={day:%Y-%m-%d}/old-{uuid4()}.parquet"
    cloud.client("s3").put_object(Bucket=bucket, Key=key, Body=content)
    yield
    cloud.client("s3").delete_object(Bucket=bucket, Key=key)


@pytest.fixture
def old_records(cloud, tmp_path) -> Iterator[list[str]]:
    """Records of a hundred days ago; one of them was delivered twice."""
    day = datetime.now(UTC) - timedelta(days=100)
    ids = [f"old-{uuid4()}" for _ in range(6)]
    with in_archive(cloud, day, parquet([*ids, ids[0]], day, tmp_path / "old.parquet")):
        yield ids


@pytest.fixture
def crowded_day(cloud, tmp_path) -> Iterator[tuple[datetime, str]]:
    """A day with more in the archive than an interactive query reads, and its one record."""
    day = datetime.now(UTC) - timedelta(days=200)
    content = parquet([event_id := f"old-{uuid4()}"], day, tmp_path / "crowded.parquet")
    # A reader finds the footer from the file's end, and by it the rows: nobody looks between.
    footer = int.from_bytes(content[-8:-4], "little") + 8
    padding = bytes(CacheLimits().range_bytes)
    with in_archive(cloud, day, content[:-footer] + padding + content[-footer:]):
        yield day, event_id


def test_one_query_reads_both_stores(cloud, audit, old_records, tmp_path):
    young = record(audit, resource="museum/1", action="look")["event_id"]
    query = {
        "resource": "museum/1",
        "limit": 3,
        "start_time": (datetime.now(UTC) - timedelta(days=101)).isoformat(),
    }
    seen = []
    while True:
        page = audit.get("/api/v1/events", params=query)
        assert page.status_code == 200, page.text
        seen += [found["event_id"] for found in page.json()["events"]]
        if not page.json()["has_more"]:
            break
        query["cursor"] = page.json()["next_cursor"]
    assert seen == [young, *reversed(old_records)]
    span = {
        "start_time": query["start_time"],
        "end_time": (datetime.now(UTC) - timedelta(days=99)).isoformat(),
    }
    bundle = export(audit, tmp_path, **span, filter={"resource": "museum/1"})
    with zipfile.ZipFile(bundle) as archive:
        lines = archive.read("records.jsonl").splitlines()
    assert len(lines) == len(old_records)
    told = verify("bundle.zip", "--key", public_key(audit), cwd=tmp_path)
    # They are in no log of this cloud, and the verifier says that.
    assert told.returncode == 3, told.stdout


def test_a_range_with_too_much_for_a_query_is_an_export(audit, crowded_day, tmp_path):
    day, event_id = crowded_day
    query = {
        "resource": "museum/1",
        "start_time": (day - timedelta(hours=1)).isoformat(),
        "end_time": (day + timedelta(hours=1)).isoformat(),
    }
    answer = audit.get("/api/v1/events", params=query)
    assert answer.status_code == 202, answer.text
    begun = answer.json()
    # Asking again begins no second one.
    assert audit.get("/api/v1/events", params=query).json()["export_id"] == begun["export_id"]
    bundle = fetched(audit, begun["export_id"], tmp_path)
    with zipfile.ZipFile(bundle) as archive:
        (line,) = archive.read("records.jsonl").splitlines()
    assert json.loads(json.loads(line)["record"])["event_id"] == event_id


# Other ways in, and completeness.


def test_events_of_the_bus_are_recorded(messaging, audit):
    resource = f"session/{uuid4()}"
    published = messaging.post(
        "/api/v1/events",
        json={
            "event_type": "audit.event",
            "payload": event(resource=resource, event_id=f"bus-{uuid4()}"),
        },
    )
    assert published.status_code == 202, published.text
    page = eventually(
        lambda: audit.get("/api/v1/events", params={"resource": resource}).json()["events"]
    )
    assert page[0]["resource"] == resource


def test_the_ai_service_leaves_a_record_of_what_it_was_asked(ai, audit, session):
    session_id = session["session_id"]
    ai.get(f"/api/v1/sessions/{session_id}", headers={"X-Request-Id": f"look-{session_id}"})
    foreign = {"message": "hi", "project_id": 1, "user_id": 8, "session_id": session_id}
    problem(ai.post("/api/v1/chat", json=foreign | {"stream": False}), 404)

    def recorded():
        page = audit.get("/api/v1/events", params={"session_id": session_id}).json()
        found = {(e["action"], e["metadata"]["outcome"]): e for e in page["events"]}
        wanted = {("ai.session.create", "allowed"), ("ai.session.read", "allowed")}
        return wanted <= set(found) and any(o == "denied" for _, o in found) and found

    found = eventually(recorded)
    read = found["ai.session.read", "allowed"]
    assert read["request_id"] == f"look-{session_id}"
    assert read["producer"].startswith("ai:")

    def complete():
        answer = audit.get("/api/v1/reconciliation")
        assert answer.status_code == 200, answer.text
        return answer.json()["complete"] and answer.json()["producers"]

    assert eventually(complete)


def test_a_missing_report_is_named(audit):
    producer = f"local-operator:{uuid4().hex[:8]}"
    for sequence in (1, 2, 5):
        record(audit, producer=producer, sequence=sequence)
    report = audit.get("/api/v1/reconciliation").json()
    (lossy,) = [found for found in report["producers"] if found["producer"] == producer]
    assert [(gap["first"], gap["last"]) for gap in lossy["gaps"]] == [(3, 4)]
    assert not report["complete"]
    for sequence in (3, 4):
        record(audit, producer=producer, sequence=sequence)
    report = audit.get("/api/v1/reconciliation").json()
    (lossy,) = [found for found in report["producers"] if found["producer"] == producer]
    assert lossy["complete"]


def test_the_service_says_how_it_is(audit):
    assert audit.get("/health").json() == {"status": "healthy", "service": "audit-sink-service"}
    ready = audit.get("/ready")
    assert ready.status_code == 200, ready.text
    assert set(ready.json()["checks"].values()) == {"ok"}


def test_wrong_questions_are_told_what_is_wrong(audit):
    for query, status in (
        ({"severity": "very"}, 422),
        ({"resource": "a", "resource_prefix": "b"}, 422),
        ({"start_time": "yesterday"}, 422),
        ({"start_time": "2026-11-02T00:00:00Z", "end_time": "2026-11-01T00:00:00Z"}, 422),
        ({"limit": 0}, 422),
        ({"cursor": base64.b64encode(b"x").decode()}, 400),
    ):
        problem(audit.get("/api/v1/events", params=query), status)
