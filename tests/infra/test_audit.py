"""The audit sink's promises, as far as templates make them."""

import json
import re

import pytest

from functions.audit.adapters import index, keys
from functions.audit.domain import archive, exports, masking, unsealed
from infra import settings
from tests.infra.test_permissions import as_list, statements

RECORDS = "Records"


def table(templates, name):
    (found,) = [
        resource["Properties"]
        for resource in templates.resources("AWS::DynamoDB::GlobalTable", "audit").values()
        if resource["Properties"]["TableName"].endswith(f"-audit-{name}")
    ]
    return found


def on_records(templates):
    """(role, actions) of every statement that names the record table itself."""
    for role, statement in statements(templates):
        for resource in as_list(statement["Resource"]):
            arn = resource.get("Fn::GetAtt") if isinstance(resource, dict) else None
            if arn and arn[0].startswith(RECORDS) and arn[1] == "Arn":
                yield role.rpartition("-")[2], set(as_list(statement["Action"]))


def test_only_ingest_and_intake_put_into_the_record_table(templates):
    putters = {role for role, actions in on_records(templates) if "dynamodb:PutItem" in actions}
    assert putters == {"ingest", "intake"}


def test_nobody_changes_or_removes_a_record(templates):
    known = list(on_records(templates))
    assert {role for role, _ in known} == {"ingest", "intake", "query", "exporter", "reconciler"}
    for role, actions in known:
        changing = {"UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQLUpdate", "PartiQLDelete"}
        assert not actions & {f"dynamodb:{action}" for action in changing}, role


def test_the_reconciler_reads_records_by_two_indexes(templates):
    found = {
        action: json.dumps(statement["Resource"])
        for role, statement in statements(templates)
        if role.endswith("-audit-reconciler") and RECORDS in json.dumps(statement["Resource"])
        for action in as_list(statement["Action"])
    }
    assert set(found) == {"dynamodb:BatchGetItem", "dynamodb:Query"}
    assert found["dynamodb:Query"].count("/index/") == 2
    for kind in (keys.TIME, keys.PRODUCER):
        assert f'/index/{keys.INDEXES[kind]}"' in found["dynamodb:Query"]


def test_the_record_tables_changes_are_told_with_both_images(templates):
    assert table(templates, "records")["StreamSpecification"] == {
        "StreamViewType": "NEW_AND_OLD_IMAGES"
    }


def test_indexes_hold_what_filters_are_evaluated_on(templates):
    projections = {
        found["IndexName"]: found["Projection"]
        for found in table(templates, "records")["GlobalSecondaryIndexes"]
    }
    assert set(projections) == set(keys.INDEXES.values())
    for kind, name in keys.INDEXES.items():
        assert projections[name]["ProjectionType"] == "INCLUDE"
        expected = {"accepted_at"} if kind == keys.PRODUCER else set(index._ATTRIBUTES)
        assert set(projections[name]["NonKeyAttributes"]) == expected
    # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
    assert sum(len(one["NonKeyAttributes"]) for one in projections.values()) <= 100


def test_a_deleted_key_cannot_come_back(templates):
    properties = table(templates, "keys")
    assert "StreamSpecification" not in properties
    assert "TimeToLiveSpecification" not in properties
    assert "GlobalSecondaryIndexes" not in properties
    (replica,) = properties["Replicas"]
    recovery = replica.get("PointInTimeRecoverySpecification", {})
    assert not recovery.get("PointInTimeRecoveryEnabled", False)


@pytest.mark.parametrize(
    ("role", "action", "partitions"),
    [
        ("query", "dynamodb:PutItem", ["EXPORT#*"]),
        ("exporter", "dynamodb:PutItem", ["EXPORT#*"]),
        ("reconciler", "dynamodb:PutItem", [keys.PRODUCERS, keys.SEARCHED["pk"]]),
    ],
)
def test_who_does_not_seal_writes_its_own_items_of_the_ledger(templates, role, action, partitions):
    (condition,) = [
        statement["Condition"]
        for name, statement in statements(templates)
        if name.endswith(f"-audit-{role}") and statement["Action"] == action
    ]
    named = condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
    assert as_list(named) == partitions


def evidence(templates):
    (found,) = [
        (name, resource["Properties"])
        for name, resource in templates.resources("AWS::S3::Bucket", "audit").items()
        if name.startswith("Evidence")
    ]
    return found


@pytest.mark.parametrize(
    ("environment", "mode", "days"),
    [("prod", "COMPLIANCE", 365), ("dev", "GOVERNANCE", 1), ("local", "GOVERNANCE", 1)],
)
def test_evidence_is_locked(request, environment, mode, days):
    from tests.conftest import synthesize

    _, properties = evidence(synthesize(environment))
    assert properties["ObjectLockEnabled"]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    rule = properties["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]
    assert rule == {"Mode": mode, "Days": days}
    assert "LifecycleConfiguration" not in properties


def denials(templates):
    bucket, _ = evidence(templates)
    for policy in templates.resources("AWS::S3::BucketPolicy", "audit").values():
        if policy["Properties"]["Bucket"]["Ref"] == bucket:
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                if statement["Effect"] == "Deny":
                    yield statement


def test_evidence_is_created_and_never_replaced(prod):
    (found,) = [one for one in denials(prod) if one["Action"] == "s3:PutObject"]
    assert found["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    assert found["Principal"] == {"AWS": "*"}


def test_nobody_deletes_or_unlocks_evidence(templates):
    (found,) = [one for one in denials(templates) if "s3:DeleteObjectVersion" in one["Action"]]
    assert {
        "s3:BypassGovernanceRetention",
        "s3:DeleteObject",
        "s3:PutObjectRetention",
    } <= set(found["Action"])
    assert "Condition" not in found


def test_conditions_that_ministack_does_not_know_are_left_out_of_the_local_cloud_alone(prod, local):
    for key in ("s3:if-none-match", "cloudwatch:namespace"):
        assert key in json.dumps(prod.stacks)
        assert key not in json.dumps(local.stacks)


def test_the_keys_are_used_by_the_roles_named_alone(templates):
    uses = {}
    for key in templates.resources("AWS::KMS::Key", "audit").values():
        properties = key["Properties"]
        signing = properties["KeyUsage"] == "SIGN_VERIFY" if "KeyUsage" in properties else False
        if signing:
            assert properties["KeySpec"] == "ECC_NIST_EDWARDS25519"
        else:
            assert properties["EnableKeyRotation"]
        for statement in properties["KeyPolicy"]["Statement"]:
            principals = as_list(statement["Principal"]["AWS"])
            if statement["Sid"] == "Management":
                assert not set(statement["Action"]) & {
                    "kms:CreateGrant", "kms:Decrypt", "kms:Encrypt", "kms:Sign", "kms:*",
                }  # fmt: skip
                continue
            for action in as_list(statement["Action"]):
                users = uses.setdefault((signing, action), set())
                users.update(one["Fn::GetAtt"][0].partition("Function")[0] for one in principals)
    assert uses == {
        (True, "kms:Sign"): {"Sealer"},
        (True, "kms:GetPublicKey"): {"Sealer", "Query", "Exporter"},
        (False, "kms:GenerateDataKey"): {"Ingest", "Intake"},
        (False, "kms:Decrypt"): {"Ingest", "Intake", "Query"},
    }


def test_the_archive_grows_cold_and_ends(templates):
    (properties,) = [
        resource["Properties"]
        for name, resource in templates.resources("AWS::S3::Bucket", "audit").items()
        if name.startswith("Archive")
    ]
    (rule,) = properties["LifecycleConfiguration"]["Rules"]
    assert rule["ExpirationInDays"] == 365
    assert rule["Transitions"] == [{"StorageClass": "GLACIER_IR", "TransitionInDays": 90}]


def test_firehose_writes_the_tables_columns_as_parquet_by_day(templates):
    (glue,) = templates.resources("AWS::Glue::Table", "audit").values()
    table_input = glue["Properties"]["TableInput"]
    columns = table_input["StorageDescriptor"]["Columns"]
    assert {one["Name"]: one["Type"] for one in columns} == archive.COLUMNS
    assert table_input["Parameters"]["projection.day.range"] == "NOW-366DAYS,NOW+1DAYS"
    template = json.dumps(table_input["Parameters"]["storage.location.template"])
    assert "/events/day=${day}/" in template

    (stream,) = templates.resources("AWS::KinesisFirehose::DeliveryStream", "audit").values()
    destination = stream["Properties"]["ExtendedS3DestinationConfiguration"]
    assert destination["Prefix"] == "events/day=!{timestamp:yyyy-MM-dd}/"
    assert destination["ErrorOutputPrefix"].startswith("errors/!{firehose:error-output-type}/day=")
    conversion = destination["DataFormatConversionConfiguration"]
    serializer = conversion["OutputFormatConfiguration"]["Serializer"]
    assert serializer == {"ParquetSerDe": {"Compression": "SNAPPY"}}
    assert stream["Properties"]["DeliveryStreamEncryptionConfigurationInput"]


def test_exports_go_through_a_workgroup_with_bounds(templates):
    (workgroup,) = templates.resources("AWS::Athena::WorkGroup", "audit").values()
    configuration = workgroup["Properties"]["WorkGroupConfiguration"]
    assert configuration["EnforceWorkGroupConfiguration"]
    assert configuration["BytesScannedCutoffPerQuery"] == 100 * 10**9
    location = json.dumps(configuration["ResultConfiguration"]["OutputLocation"])
    assert "/athena/" in location
    assert "Exported" in location


def test_the_exporter_has_what_athena_asks_of_its_callers(templates):
    found = {
        statement.get("Sid"): statement
        for role, statement in statements(templates)
        if role.endswith("-audit-exporter")
    }
    default = found["DefaultDatabase"]
    assert as_list(default["Action"]) == ["glue:GetDatabase"]
    catalog, database = (arn["Fn::Join"][1][-1] for arn in default["Resource"])
    assert (catalog, database) == (":catalog", ":database/default")
    results = found["Results"]
    assert "s3:ListBucketMultipartUploads" in results["Action"]
    assert "Exported" in json.dumps(results["Resource"])


def test_an_export_fits_on_its_functions_disk(templates):
    (exporter,) = [
        resource["Properties"]
        for resource in templates.resources("AWS::Lambda::Function", "audit").values()
        if resource["Properties"]["FunctionName"].endswith("-exporter")
    ]
    assert exporter["EphemeralStorage"] == {"Size": 6144}


def test_an_export_is_kept_as_long_as_it_says(templates):
    (properties,) = [
        resource["Properties"]
        for name, resource in templates.resources("AWS::S3::Bucket", "audit").items()
        if name.startswith("Exported")
    ]
    (rule,) = properties["LifecycleConfiguration"]["Rules"]
    assert rule["ExpirationInDays"] == exports.KEPT_DAYS


def mappings(templates):
    """By the first part of the logical id of the alias that a mapping calls."""
    found = {}
    for one in templates.resources("AWS::Lambda::EventSourceMapping", "audit").values():
        alias = re.search(r'"Ref": "(\w+)FunctionLive', json.dumps(one["Properties"]))
        found[alias[1]] = one["Properties"]
    return found


def test_inserts_are_archived_and_everything_else_is_watched(templates):
    found = mappings(templates)
    for name, events in (("Archiver", ["INSERT"]), ("Watcher", ["MODIFY", "REMOVE"])):
        mapping = found[name]
        (one,) = mapping["FilterCriteria"]["Filters"]
        assert json.loads(one["Pattern"]) == {"eventName": events}
        assert mapping["BisectBatchOnFunctionError"]
        assert mapping["StartingPosition"] == "TRIM_HORIZON"
        # It fails a batch by raising: MiniStack does not read partial answers for streams.
        assert "FunctionResponseTypes" not in mapping
        assert mapping["DestinationConfig"]["OnFailure"]["Destination"]
        assert mapping["MaximumRecordAgeInSeconds"] < 24 * 3600


def test_queues_take_partial_answers_and_bury_after_three_receives(templates):
    found = mappings(templates)
    for name in ("Intake", "Exporter"):
        assert found[name]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    functions = {
        resource["Properties"]["FunctionName"].rpartition("-")[2]: resource["Properties"]
        for resource in templates.resources("AWS::Lambda::Function", "audit").values()
    }
    queues = {
        resource["Properties"]["QueueName"].split("-audit-")[1]: resource["Properties"]
        for resource in templates.resources("AWS::SQS::Queue", "audit").values()
    }
    assert set(queues) == {
        "intake", "intake-dlq", "exports", "exports-dlq", "archiver-failures", "watcher-failures",
    }  # fmt: skip
    for queue, function in (("intake", "intake"), ("exports", "exporter")):
        assert queues[queue]["RedrivePolicy"]["maxReceiveCount"] == 3
        assert queues[queue]["VisibilityTimeout"] > functions[function]["Timeout"]


def test_the_bus_feeds_the_intake(templates):
    (bus,) = templates.resources("AWS::Events::EventBus", "foundation").values()
    (rule,) = templates.resources("AWS::Events::Rule", "audit").values()
    properties = rule["Properties"]
    assert properties["EventBusName"] == bus["Properties"]["Name"]
    types = properties["EventPattern"]["detail-type"]
    assert {"audit.event", "user.deleted", "project.archived"} <= set(types)
    assert properties["EventPattern"]["source"] == [{"prefix": "santaclaude."}]
    # What is sent again to one consumer, or out of an archive, is on record.
    assert properties["EventPattern"]["detail"] == {"target": [{"exists": False}]}
    assert properties["EventPattern"]["replay-name"] == [{"exists": False}]
    (target,) = properties["Targets"]
    assert "Intake" in json.dumps(target["Arn"])
    assert "DeadLetters" in json.dumps(target["DeadLetterConfig"]["Arn"])


def test_sealing_is_scheduled_every_minute(templates):
    rates = {
        resource["Properties"]["Name"].split("-audit-")[1]: resource["Properties"]
        for resource in templates.resources("AWS::Scheduler::Schedule", "audit").values()
    }
    assert rates["sealer-schedule"]["ScheduleExpression"] == "rate(1 minute)"
    assert rates["reconciler-schedule"]["ScheduleExpression"] == "rate(5 minutes)"
    for properties in rates.values():
        assert properties["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0


def alarms(templates):
    return {
        resource["Properties"]["AlarmName"].split("-audit-")[1]: resource["Properties"]
        for resource in templates.resources("AWS::CloudWatch::Alarm", "audit").values()
    }


def test_every_failure_queue_has_an_alarm(templates):
    watched = {
        dimension["Value"]
        for alarm in alarms(templates).values()
        for dimension in alarm.get("Dimensions", []) if dimension["Name"] == "QueueName"
    }  # fmt: skip
    names = {
        resource["Properties"]["QueueName"]
        for resource in templates.resources("AWS::SQS::Queue", "audit").values()
    }
    assert watched == {name for name in names if name.endswith(("-dlq", "-failures"))}


NEVER = (
    "records-overwritten",
    "records-removed",
    "records-malformed",
    "log-forks",
    "proofs-refused",
)
FINAL = (*NEVER, "unsealed")


def test_alarms_tell_the_environments_topic(templates):
    (topic,) = templates.resources("AWS::SNS::Topic", "foundation").values()
    name = topic["Properties"]["TopicName"]
    for alarm in templates.resources("AWS::CloudWatch::Alarm").values():
        final = alarm["Properties"]["AlarmName"].endswith(FINAL)
        for kind in ("AlarmActions",) if final else ("AlarmActions", "OKActions"):
            (action,) = alarm["Properties"][kind]
            assert action["Fn::Join"][1][-1] == f":{name}"
        assert alarm["Properties"]["AlarmDescription"]


def test_what_must_never_happen_raises_an_alarm_at_once(templates):
    found = alarms(templates)
    for name in (*NEVER, "gaps", "unsealed"):
        alarm = found[name]
        assert (alarm["Threshold"], alarm["Statistic"]) == (0, "Sum")
        assert alarm["EvaluationPeriods"] == 1
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["Namespace"].startswith("Santaclaude/")


def test_what_must_never_happen_is_not_taken_back(templates):
    found = alarms(templates)
    for name in FINAL:
        assert "OKActions" not in found[name]
    for name in NEVER:
        assert found[name]["Period"] == 60


@pytest.mark.parametrize("name", ["gaps", "unsealed", "search-late"])
def test_the_alarm_of_a_search_lasts_from_one_to_the_next(templates, name):
    alarm = alarms(templates)[name]
    (search,) = [
        resource["Properties"]["ScheduleExpression"]
        for resource in templates.resources("AWS::Scheduler::Schedule", "audit").values()
        if resource["Properties"]["Name"].endswith("-reconciler-schedule")
    ]
    assert search == "rate(5 minutes)"
    assert alarm["Period"] == 2 * 5 * 60


def test_a_search_that_is_behind_or_silent_raises_an_alarm_well_before_a_day(templates):
    alarm = alarms(templates)["search-late"]
    assert (alarm["MetricName"], alarm["Statistic"]) == (unsealed.UNSEARCHED, "Maximum")
    healthy = (unsealed.SETTLED + unsealed.WINDOW).total_seconds()
    assert healthy < alarm["Threshold"] <= 6 * 3600
    assert alarm["TreatMissingData"] == "breaching"
    assert alarm["EvaluationPeriods"] == 3


def test_a_sealer_that_stopped_raises_an_alarm(templates):
    found = alarms(templates)
    late, stopped = found["sealing-late"], found["sealing-stopped"]
    assert (late["Threshold"], late["TreatMissingData"]) == (3600, "notBreaching")
    assert (stopped["Threshold"], stopped["TreatMissingData"]) == (86400, "breaching")
    assert found["archive-behind"]["Threshold"] == 15 * 60 * 1000
    assert found["delivery-late"]["Threshold"] == 3600
    assert found["delivery-stopped"]["Threshold"] == 86400


def test_a_record_that_firehose_cannot_convert_raises_an_alarm(templates):
    (stream,) = templates.resources("AWS::KinesisFirehose::DeliveryStream", "audit").values()
    alarm = alarms(templates)["delivery-refused"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Firehose", "FailedConversion.Records")
    assert alarm["Dimensions"] == [
        {
            "Name": "DeliveryStreamName",
            "Value": stream["Properties"]["DeliveryStreamName"],
        }
    ]
    assert (alarm["Threshold"], alarm["Statistic"]) == (0, "Sum")
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert alarm["TreatMissingData"] == "notBreaching"


def test_masked_kinds_are_kinds():
    assert set(settings.load({}.get).audit_masked_kinds) == masking.KINDS
