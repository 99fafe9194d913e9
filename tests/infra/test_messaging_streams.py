"""Streams of the message service, and consumers of other services: rules, queues, rights."""

import json

import aws_cdk as cdk
import pytest
from aws_cdk import aws_lambda as lambda_
from aws_cdk.assertions import Template
from aws_cdk.aws_logs import RetentionDays

from contracts.messaging.streams import (
    ALL_STREAMS,
    DEFAULT_STREAM,
    MAX_RECEIVES,
    ROUTED_TYPES,
    STREAMS,
)
from infra.constructs.event_archive import METADATA
from infra.constructs.event_consumer import EventConsumer
from infra.constructs.python_function import FunctionDefaults, PythonFunction
from infra.constructs.service_table import ServiceTable
from infra.security import Reason
from infra.settings import DeploySettings
from infra.stacks.environment import EnvironmentStack
from servicekit import consumer
from servicekit.bus_event import DEAD_LETTERS_SUFFIX
from servicekit.consumer_claims import PK_PREFIX
from servicekit.consumer_settings import ConsumerSettings
from tests.infra.test_functions import functions
from tests.infra.test_permissions import as_list, statements


def queues(templates):
    """(logical id, properties) by the name behind the service's."""
    return {
        queue["Properties"]["QueueName"].split("-", 3)[3]: (name, queue["Properties"])
        for name, queue in templates.resources("AWS::SQS::Queue", "messaging").items()
    }


def rules(templates):
    return {
        rule["Properties"]["Name"].split("-", 3)[3]: rule["Properties"]
        for rule in templates.resources("AWS::Events::Rule", "messaging").values()
    }


def test_each_stream_has_a_rule_a_queue_and_dead_letters(templates):
    assert set(rules(templates)) == set(ALL_STREAMS)
    for stream in ALL_STREAMS:
        logical_id, queue = queues(templates)[stream]
        dead_id, dead = queues(templates)[f"{stream}{DEAD_LETTERS_SUFFIX}"]
        (target,) = rules(templates)[stream]["Targets"]
        assert target["Arn"]["Fn::GetAtt"][0] == logical_id
        # What the bus cannot deliver is a dead letter like any other.
        assert target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0] == dead_id
        assert queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0] == dead_id
        assert queue["RedrivePolicy"]["maxReceiveCount"] == MAX_RECEIVES == consumer.MAX_RECEIVES
        assert dead["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"]


def test_every_type_goes_to_one_stream(templates):
    for stream, rule in rules(templates).items():
        pattern = rule["EventPattern"]
        assert pattern["source"] == [{"prefix": "santaclaude."}]
        if stream == DEFAULT_STREAM:
            assert pattern["detail-type"] == [{"anything-but": list(ROUTED_TYPES)}]
        else:
            assert pattern["detail-type"] == list(STREAMS[stream])


def test_what_is_sent_again_to_another_stays_away(templates):
    for stream, rule in rules(templates).items():
        pattern = rule["EventPattern"]
        assert pattern["detail"] == {"$or": [{"target": [{"exists": False}]}, {"target": [stream]}]}
        # The streams take what comes out of the archive.
        assert "replay-name" not in pattern


def test_one_function_works_on_all_of_them(templates):
    mappings = {
        name: mapping["Properties"]
        for name, mapping in templates.resources(
            "AWS::Lambda::EventSourceMapping", "messaging"
        ).items()
        if name.startswith("Streams")
    }
    fed = {mapping["EventSourceArn"]["Fn::GetAtt"][0] for mapping in mappings.values()}
    streams = {
        logical_id
        for name, (logical_id, _) in queues(templates).items()
        if name.removesuffix(DEAD_LETTERS_SUFFIX) in ALL_STREAMS
    }
    assert fed == streams
    for mapping in mappings.values():
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_a_killed_calls_claim_is_over_before_its_message_comes_again(templates):
    _, relay = functions(templates)["messaging-relay"]
    lease = int(relay["Environment"]["Variables"]["CLAIM_LEASE_SECONDS"])
    assert lease > relay["Timeout"]
    for stream in ALL_STREAMS:
        for name in (stream, f"{stream}{DEAD_LETTERS_SUFFIX}"):
            _, queue = queues(templates)[name]
            assert queue["VisibilityTimeout"] > lease


def test_only_its_rule_sends_to_a_queue(templates):
    policies = json.dumps(templates.resources("AWS::SQS::QueuePolicy", "messaging"))
    assert policies.count('"events.amazonaws.com"') == 2 * len(ALL_STREAMS)
    assert policies.count('"aws:SourceArn"') == 2 * len(ALL_STREAMS)


def test_each_stream_has_its_alarms(templates):
    names = {
        alarm["Properties"]["AlarmName"].split("-", 3)[3]
        for alarm in templates.resources("AWS::CloudWatch::Alarm", "messaging").values()
    }
    for stream in ALL_STREAMS:
        for kind in ("late", "deep", "dead-letters", "dead-letters-stuck"):
            assert f"{stream}-{kind}" in names


def test_the_relay_claims_for_the_streams_alone(templates):
    for role, statement in statements(templates):
        if role.endswith("messaging-relay") and statement.get("Sid") == "Claims":
            keys = statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
            assert as_list(keys) == [f"{PK_PREFIX}{stream}" for stream in ALL_STREAMS]
            break
    else:
        pytest.fail("no statement")


def test_what_was_sent_again_is_not_archived(prod):
    (archive,) = prod.resources("AWS::Events::Archive", "messaging").values()
    assert archive["Properties"]["EventPattern"] == {
        "source": [{"prefix": "santaclaude."}],
        "detail": {"target": [{"exists": False}]},
    }
    _, control = functions(prod)["messaging-control"]
    days = int(control["Environment"]["Variables"]["EVENT_RETENTION_DAYS"])
    assert archive["Properties"]["RetentionDays"] == days


def test_the_local_cloud_is_told_of_the_archive(local, prod):
    assert local.resources("AWS::Events::Archive", "messaging") == {}
    (archive,) = local.stacks["messaging"]["Metadata"][METADATA]
    (deployed,) = prod.resources("AWS::Events::Archive", "messaging").values()
    assert json.loads(archive["EventPattern"]) == deployed["Properties"]["EventPattern"]
    assert archive["ArchiveName"] == "santaclaude-local-messaging"
    assert archive["EventBusName"] == "santaclaude-local"


@pytest.fixture(scope="module")
def service():
    """A stack of another service with a consumer, as its own code would declare it."""
    settings = DeploySettings(environment="dev")
    stack = EnvironmentStack(cdk.App(), "ai", settings=settings)
    table = ServiceTable(stack, "Table", name="santaclaude-dev-ai", indexes=[], retain=False)
    timeout = cdk.Duration.seconds(60)
    consuming = EventConsumer(
        stack,
        "Projects",
        service="ai",
        name="projects",
        types=["project.archived"],
        timeout=timeout,
        settings=settings,
    )
    function = PythonFunction(
        stack,
        "Function",
        name="santaclaude-dev-ai-projects",
        handler="functions.ai.entrypoints.projects.handler",
        defaults=FunctionDefaults(
            service="ai",
            layers=[],
            code=lambda_.Code.from_inline("handler = None"),
            log_retention=RetentionDays.ONE_DAY,
            snap_start=False,
        ),
        environment=consuming.environment,
        memory_mb=512,
        timeout=timeout,
        permissions=[],
        failures=Reason.QUEUED,
    )
    consuming.feed(function, table)
    return Template.from_stack(stack)


def test_a_services_consumer_reads_what_its_settings_ask_for(service):
    (function,) = service.find_resources("AWS::Lambda::Function").values()
    variables = function["Properties"]["Environment"]["Variables"]
    assert set(variables) == {field.upper() for field in ConsumerSettings.model_fields}
    assert variables["CONSUMER_NAME"] == "ai-projects"
    assert int(variables["CONSUMER_LEASE_SECONDS"]) > function["Properties"]["Timeout"]


def test_a_services_consumer_may_do_nothing_else(service):
    (policy,) = service.find_resources("AWS::IAM::Policy").values()
    found = {s["Sid"]: s for s in policy["Properties"]["PolicyDocument"]["Statement"] if "Sid" in s}
    claims = found["Claims"]
    keys = claims["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
    assert as_list(keys) == [f"{PK_PREFIX}ai-projects"]
    assert set(claims["Action"]) == {"dynamodb:GetItem", "dynamodb:UpdateItem"}
    assert "/live/POST/api/v1/deliveries" in json.dumps(found["Deliveries"]["Resource"])
    assert "parameter/santaclaude/dev/messaging/api-url" in json.dumps(
        found["MessageService"]["Resource"]
    )


def test_a_services_consumer_gets_no_replays(service):
    (rule,) = service.find_resources("AWS::Events::Rule").values()
    pattern = rule["Properties"]["EventPattern"]
    assert pattern["replay-name"] == [{"exists": False}]
    assert pattern["detail-type"] == ["project.archived"]
    assert {"target": ["ai-projects"]} in pattern["detail"]["$or"]
