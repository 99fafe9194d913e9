"""What the AI service does on a schedule."""

import pytest

from functions.ai.settings import MIN_SESSION_DAYS
from tests.infra.test_functions import functions

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
