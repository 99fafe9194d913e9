"""What brings the AI service's audit records to the audit sink."""

import json

from servicekit.audit_outbox import PK_PREFIX
from servicekit.audit_sender import LEFT_BEHIND_AFTER
from tests.infra.test_permissions import as_list, statements


def of_audit(templates):
    return [s for role, s in statements(templates) if role.endswith("-ai-audit")]


def mapping(templates):
    (found,) = [
        resource["Properties"]
        for name, resource in templates.resources("AWS::Lambda::EventSourceMapping", "ai").items()
        if name.startswith("Audit")
    ]
    return found


def test_only_what_is_written_to_the_outbox_calls_the_function(templates):
    (one,) = mapping(templates)["FilterCriteria"]["Filters"]
    assert json.loads(one["Pattern"]) == {
        "eventName": ["INSERT"],
        "dynamodb": {"Keys": {"pk": {"S": [{"prefix": PK_PREFIX}]}}},
    }


def test_a_batch_that_fails_does_not_hold_up_the_stream(templates):
    properties = mapping(templates)
    assert properties["MaximumRetryAttempts"] == 2
    assert properties["MaximumRecordAgeInSeconds"] == 300
    # What the stream gives up on is old enough for the sweep by then, or soon.
    assert LEFT_BEHIND_AFTER.total_seconds() <= properties["MaximumRecordAgeInSeconds"]


def test_what_is_left_behind_is_swept_every_five_minutes(templates):
    (rate,) = (
        schedule["Properties"]["ScheduleExpression"]
        for name, schedule in templates.resources("AWS::Scheduler::Schedule", "ai").items()
        if name.startswith("Audit")
    )
    assert rate == "rate(5 minutes)"


def test_the_table_tells_of_its_changes(templates):
    (table,) = templates.resources("AWS::DynamoDB::GlobalTable", "ai").values()
    assert table["Properties"]["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"


def test_the_function_touches_the_outbox_alone(templates):
    for statement in of_audit(templates):
        actions = set(as_list(statement["Action"]))
        if actions & {"dynamodb:Query", "dynamodb:DeleteItem"}:
            keys = statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
            assert as_list(keys) == [f"{PK_PREFIX}ai:*"]


def test_the_function_calls_one_route_of_the_audit_sink(templates):
    (resource,) = [
        json.dumps(statement["Resource"])
        for statement in of_audit(templates)
        if statement["Action"] == "execute-api:Invoke"
    ]
    assert ":*/live/POST/api/v1/events/batch" in resource


def test_records_that_wait_raise_an_alarm(templates):
    alarms = {
        alarm["Properties"]["MetricName"]: alarm["Properties"]
        for name, alarm in templates.resources("AWS::CloudWatch::Alarm", "ai").items()
        if name.startswith("Audit")
    }
    assert set(alarms) == {"AuditOutboxOldestSeconds", "AuditOutboxRefused"}
    # A sweep that does not run says nothing.
    assert alarms["AuditOutboxOldestSeconds"]["TreatMissingData"] == "breaching"


def test_nobody_else_removes_audit_records(templates):
    for role, statement in statements(templates):
        conversing = role.endswith(("-ai-api", "-ai-stream", "-ai-worker"))
        if conversing and "dynamodb:DeleteItem" in as_list(statement["Action"]):
            keys = statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
            assert as_list(keys) in (["SESSION#*", "TURN#*"], ["BUDGET#*"], ["ROUTING#*"])
