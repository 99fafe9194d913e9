"""The AI service's jobs: nothing is lost between the table, the queues and the worker."""

import json

from functions.ai.adapters import keys
from functions.ai.adapters.turn_items import SUMMARY_DUE
from functions.ai.domain.turns import JOB_PATIENCE_SECONDS
from tests.infra.test_functions import functions
from tests.infra.test_permissions import as_list, statements

PRIORITIES = ("high", "normal")


def queues(templates):
    return {
        queue["Properties"]["QueueName"].split("-", 3)[3]: (name, queue["Properties"])
        for name, queue in templates.resources("AWS::SQS::Queue", "ai").items()
    }


def mappings(templates):
    """Properties by the beginning of the name."""
    return {
        name: resource["Properties"]
        for name, resource in templates.resources("AWS::Lambda::EventSourceMapping", "ai").items()
        if name.startswith("Jobs")
    }


def mapping(templates, beginning):
    (found,) = [m for name, m in mappings(templates).items() if name.startswith(beginning)]
    return found


def test_queues(templates):
    assert set(queues(templates)) == {
        "jobs-high",
        "jobs-high-dlq",
        "jobs-normal",
        "jobs-normal-dlq",
        "dispatch-failures",
    }
    policies = json.dumps(templates.resources("AWS::SQS::QueuePolicy", "ai"))
    for logical_id, queue in queues(templates).values():
        assert queue["SqsManagedSseEnabled"]
        assert f'"Queues": [{{"Ref": "{logical_id}"}}]' in policies
    assert policies.count("aws:SecureTransport") == len(queues(templates))


def test_what_fails_for_good_is_a_dead_letter_of_its_queue(templates):
    _, worker = functions(templates)["ai-worker"]
    receives = int(worker["Environment"]["Variables"]["MAX_RECEIVES"])
    found = queues(templates)
    for priority in PRIORITIES:
        _, queue = found[f"jobs-{priority}"]
        dead_letters, kept = found[f"jobs-{priority}-dlq"]
        assert queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0] == dead_letters
        assert queue["RedrivePolicy"]["maxReceiveCount"] == receives
        assert kept["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"]


def test_a_message_is_its_workers_for_longer_than_that_may_run(templates):
    _, worker = functions(templates)["ai-worker"]
    for priority in PRIORITIES:
        _, queue = queues(templates)[f"jobs-{priority}"]
        assert queue["VisibilityTimeout"] > worker["Timeout"]
        # Whoever reads a job does not end it before its message can have come again.
        assert queue["VisibilityTimeout"] < JOB_PATIENCE_SECONDS


def test_each_queue_has_workers_of_its_own(templates):
    for priority in PRIORITIES:
        found = mapping(templates, f"Jobs{priority.title()}")
        queue, _ = queues(templates)[f"jobs-{priority}"]
        assert found["EventSourceArn"]["Fn::GetAtt"][0] == queue
        assert found["BatchSize"] == 1
        assert found["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert found["ScalingConfig"]["MaximumConcurrency"] >= 2


def test_high_jobs_have_more_workers_than_normal_ones(templates):
    high, normal = (
        mapping(templates, f"Jobs{priority.title()}")["ScalingConfig"]["MaximumConcurrency"]
        for priority in PRIORITIES
    )
    assert high > normal


def patterns(templates):
    criteria = mapping(templates, "JobsChanges")["FilterCriteria"]["Filters"]
    return [json.loads(one["Pattern"]) for one in criteria]


def passes(pattern, record):
    """Whether a record passes, as far as our patterns go: equal values, prefixes, and nesting."""
    for name, wanted in pattern.items():
        if isinstance(wanted, dict):
            if name not in record or not passes(wanted, record[name]):
                return False
        elif not any(
            record.get(name, "").startswith(one["prefix"])
            if isinstance(one, dict)
            else record.get(name) == one
            for one in wanted
        ):
            return False
    return True


def record(before, after, *, job=True, sk=keys.TURN_SK, summary=False):
    image = {"status": {"S": after}} | ({"priority": {"S": "normal"}} if job else {})
    new = image | ({"summary": {"S": SUMMARY_DUE}} if summary else {})
    data = {"Keys": {"pk": {"S": keys.turn_pk("t1")}, "sk": {"S": sk}}, "NewImage": new}
    if before:
        data["OldImage"] = image | {"status": {"S": before}}
    return {"eventName": "MODIFY" if before else "INSERT", "dynamodb": data}


def test_new_jobs_and_changes_of_status_are_told_and_nothing_else(prod):
    def told(*args, **kwargs):
        return any(passes(pattern, record(*args, **kwargs)) for pattern in patterns(prod))

    ended = ("completed", "failed", "cancelled")
    assert told(None, "queued")
    assert all(told("queued", after) for after in ("running", *ended))
    assert all(told("running", after) for after in ("queued", *ended))
    assert told("failed", "running")
    # A lease that is renewed, a bill that comes later, a chat, a turn's events.
    assert not any(told(status, status) for status in ("queued", "running", *ended))
    assert not told("running", "completed", job=False)
    assert not told(None, "queued", sk=keys.event_sk(1))
    # What a chat leaves to be made, once.
    assert told("running", "completed", job=False, summary=True)
    assert not told("completed", "completed", job=False, summary=True)
    # A mapping has no more of them without asking AWS.
    assert len(patterns(prod)) <= 5


def test_no_change_is_given_up_before_somebody_can_see_to_it(templates):
    changes = mapping(templates, "JobsChanges")
    assert changes["BisectBatchOnFunctionError"]
    assert changes["StartingPosition"] == "TRIM_HORIZON"
    assert changes["MaximumRecordAgeInSeconds"] >= 3600
    failures, _ = queues(templates)["dispatch-failures"]
    destination = changes["DestinationConfig"]["OnFailure"]["Destination"]
    assert destination["Fn::GetAtt"][0] == failures


def test_a_stream_has_two_readers_at_most(templates):
    readers = [
        found
        for found in templates.resources("AWS::Lambda::EventSourceMapping", "ai").values()
        if "StreamArn" in json.dumps(found["Properties"]["EventSourceArn"])
    ]
    assert len(readers) == 2


def test_dead_letters_and_waiting_jobs_raise_alarms(templates):
    alarms = {
        (
            alarm["Properties"]["Dimensions"][0]["Value"].split("-", 3)[3],
            alarm["Properties"]["MetricName"],
        )
        for name, alarm in templates.resources("AWS::CloudWatch::Alarm", "ai").items()
        if name.startswith("Jobs")
    }
    left, age = "ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"
    assert alarms == {
        ("jobs-high-dlq", left),
        ("jobs-normal-dlq", left),
        ("dispatch-failures", left),
        ("jobs-high", age),
        ("jobs-normal", age),
    }


def statement_of(templates, role, action):
    return [
        statement
        for name, statement in statements(templates)
        if name.endswith(role) and action in as_list(statement["Action"])
    ]


def test_the_dispatcher_reads_no_item_and_publishes_through_the_message_service(prod):
    statements = statement_of(prod, "-ai-dispatch", "execute-api:Invoke")
    routes = [json.dumps(s["Resource"]).split(":*/live/")[1].rstrip('"]}') for s in statements]
    assert sorted(routes) == ["POST/api/v1/events/batch", "POST/api/v1/progress/batch"]
    (address,) = statement_of(prod, "-ai-dispatch", "ssm:GetParameter")
    assert "parameter/santaclaude/prod/messaging/api-url" in json.dumps(address["Resource"])
    for action in ("dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "events:PutEvents"):
        assert not statement_of(prod, "-ai-dispatch", action)


def test_statements_of_a_policy_are_told_apart(templates):
    for policy in templates.resources("AWS::IAM::Policy").values():
        sids = [s["Sid"] for s in policy["Properties"]["PolicyDocument"]["Statement"] if "Sid" in s]
        assert len(sids) == len(set(sids)), sids
