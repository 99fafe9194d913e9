"""What the AI service does on a schedule."""

import pytest

from functions.ai.domain.job_sweep import GIVEN_UP_AFTER, LATE_AFTER
from functions.ai.settings import MIN_SESSION_DAYS
from tests.infra.test_functions import functions
from tests.infra.test_jobs import queues
from tests.infra.test_permissions import as_list, statements

DAYS = {"local": 30, "dev": 30, "staging": 90, "prod": 0}


def test_it_runs_again_and_again_and_says_so_when_it_does_not(templates):
    _, function = functions(templates)["ai-upkeep"]
    (rate,) = (
        schedule["Properties"]["ScheduleExpression"]
        for name, schedule in templates.resources("AWS::Scheduler::Schedule", "ai").items()
        if name.startswith("Upkeep")
    )
    assert rate == "rate(15 minutes)"
    # A run is over before the next one begins.
    assert function["Timeout"] < 15 * 60
    (alarm,) = (
        alarm["Properties"]
        for name, alarm in templates.resources("AWS::CloudWatch::Alarm", "ai").items()
        if name.startswith("Upkeep")
    )
    assert (alarm["MetricName"], alarm["TreatMissingData"]) == ("Errors", "breaching")
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": function["FunctionName"]}]


def test_it_sends_to_the_jobs_queues_alone(templates):
    sent = [
        statement["Resource"]["Fn::GetAtt"][0]
        for name, statement in statements(templates)
        if name.endswith("-ai-upkeep")
        and any(action.startswith("sqs:") for action in as_list(statement["Action"]))
    ]
    assert set(sent) == {queues(templates)[f"jobs-{p}"][0] for p in ("high", "normal")}


def test_no_message_is_dropped_before_its_job_is_sent_again_or_ended(templates):
    for priority in ("high", "normal"):
        _, queue = queues(templates)[f"jobs-{priority}"]
        assert queue["MessageRetentionPeriod"] > (GIVEN_UP_AFTER + LATE_AFTER).total_seconds()
    (changes,) = (
        mapping["Properties"]
        for name, mapping in templates.resources("AWS::Lambda::EventSourceMapping", "ai").items()
        if name.startswith("JobsChanges")
    )
    # Nor does the dispatcher go on with what is sent here.
    assert changes["MaximumRecordAgeInSeconds"] < LATE_AFTER.total_seconds()


def test_the_index_of_what_is_due_changes_with_its_keys_alone(templates):
    (table,) = templates.resources("AWS::DynamoDB::GlobalTable", "ai").values()
    indexes = {i["IndexName"]: i for i in table["Properties"]["GlobalSecondaryIndexes"]}
    assert indexes["gsi3"]["Projection"] == {
        "ProjectionType": "INCLUDE",
        "NonKeyAttributes": ["session_id"],
    }
    assert {i["Projection"]["ProjectionType"] for n, i in indexes.items() if n != "gsi3"} == {"ALL"}


@pytest.mark.parametrize("function", ["ai-api", "ai-stream", "ai-worker", "ai-upkeep"])
def test_whoever_sees_sessions_knows_how_long_they_live(templates, function):
    _, found = functions(templates)[function]
    variables = found["Environment"]["Variables"]
    days = int(variables["SESSION_DAYS"])
    assert days == DAYS[variables["ENVIRONMENT"]]
    assert days == 0 or days >= MIN_SESSION_DAYS
