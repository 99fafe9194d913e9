"""The WebSocket API: what it logs, whom it calls, and who may send to its connections."""

import json

import pytest

from tests.infra.test_functions import functions
from tests.infra.test_permissions import as_list, statements

STACK = "messaging"


def one(templates, kind):
    (found,) = templates.resources(f"AWS::ApiGatewayV2::{kind}", STACK).values()
    return found["Properties"]


def test_every_route_leads_to_the_function_through_its_alias(templates):
    routes = templates.resources("AWS::ApiGatewayV2::Route", STACK).values()
    assert {route["Properties"]["RouteKey"] for route in routes} == {
        "$connect",
        "$disconnect",
        "$default",
    }
    integration = one(templates, "Integration")
    assert integration["IntegrationType"] == "AWS_PROXY"
    assert "SocketLive" in json.dumps(integration["IntegrationUri"])
    for route in routes:
        assert route["Properties"]["Target"]["Fn::Join"][1][0] == "integrations/"


def test_no_log_holds_a_ticket(templates):
    stage = one(templates, "Stage")
    logged = set(json.loads(stage["AccessLogSettings"]["Format"]).values())
    assert logged == {
        "$context.requestId",
        "$context.requestTime",
        "$context.eventType",
        "$context.routeKey",
        "$context.status",
        "$context.integrationLatency",
        "$context.connectionId",
        "$context.error.responseType",
    }
    settings = stage["DefaultRouteSettings"]
    assert settings["LoggingLevel"] == "OFF"
    assert settings["DataTraceEnabled"] is False


def test_the_stage_is_throttled_and_deploys_itself(templates):
    stage = one(templates, "Stage")
    assert stage["StageName"] == "live"
    assert stage["AutoDeploy"] is True
    assert stage["DefaultRouteSettings"]["ThrottlingRateLimit"] > 0
    assert stage["DefaultRouteSettings"]["ThrottlingBurstLimit"] > 0


def test_who_sends_to_connections_sends_to_those_of_this_api_alone(templates):
    senders = set()
    for role, statement in statements(templates):
        if "execute-api:ManageConnections" in as_list(statement["Action"]):
            senders.add(role.split("-", 2)[2])
            assert as_list(statement["Action"]) == ["execute-api:ManageConnections"]
            text = json.dumps(statement["Resource"])
            assert "/live/POST/@connections/*" in text
            assert '{"Ref": "RealtimeWebSocketApi' in text
    assert senders == {"messaging-publish", "messaging-push", "messaging-socket"}


@pytest.mark.parametrize(
    ("function", "reached"),
    [
        ("messaging-push", {"CONNECTION#*", "CONNECTIONS#*", "TOPIC#*"}),
        (
            "messaging-socket",
            {"CONNECTION#*", "CONNECTIONS#*", "TOPIC#*", "TICKET#*", "PROGRESS#*"},
        ),
    ],
)
def test_functions_reach_what_is_theirs_of_the_table(templates, function, reached):
    found = set()
    for role, statement in statements(templates):
        actions = {a for a in as_list(statement["Action"]) if a.startswith("dynamodb:")}
        if role.endswith(f"-{function}") and actions:
            condition = statement["Condition"]["ForAllValues:StringLike"]
            found |= set(as_list(condition["dynamodb:LeadingKeys"]))
    assert found == reached


def test_only_the_ticket_opens_nothing_twice(templates):
    """Who issues tickets cannot use them, and who uses them cannot make any."""
    may = {}
    for role, statement in statements(templates):
        condition = json.dumps(statement.get("Condition", {}))
        if "TICKET#*" in condition:
            may[role.split("-", 2)[2]] = set(as_list(statement["Action"]))
    assert may == {
        "messaging-control": {"dynamodb:PutItem"},
        "messaging-socket": {"dynamodb:GetItem", "dynamodb:UpdateItem"},
    }


def test_a_push_is_repeated_for_two_minutes(templates):
    (config,) = [
        resource["Properties"]
        for name, resource in templates.resources("AWS::Lambda::EventInvokeConfig", STACK).items()
        if name.startswith("RealtimePush")
    ]
    assert config["MaximumRetryAttempts"] == 2
    assert config["MaximumEventAgeInSeconds"] == 120


def test_clients_find_it_at_the_door_of_the_local_cloud_and_at_aws_else(prod):
    _, control = functions(prod, STACK)["messaging-control"]
    url = json.dumps(control["Environment"]["Variables"]["WEBSOCKET_URL"])
    assert "wss://" in url
    _, publish = functions(prod, STACK)["messaging-publish"]
    assert "https://" in json.dumps(publish["Environment"]["Variables"]["CONNECTIONS_URL"])


def test_jobs_tell_the_message_service_and_nobody_else(templates):
    told = {}
    for role, statement in statements(templates):
        if role.endswith(("-ai-worker", "-ai-dispatch")) and "execute-api:Invoke" in as_list(
            statement["Action"]
        ):
            told.setdefault(role, []).append(json.dumps(statement["Resource"]))
    assert len(told) == 2
    for resources in told.values():
        assert any(":*/live/POST/api/v1/progress/batch" in resource for resource in resources)
