"""Webhooks: their queues, who reads secrets, and where requests may go."""

import json

from functions.messaging.adapters.webhook_http import TIMEOUT_SECONDS
from functions.messaging.domain.webhook_attempts import LEASE_SECONDS
from tests.infra.test_functions import functions
from tests.infra.test_permissions import as_list, statements


def queues(templates):
    return {
        resource["Properties"]["QueueName"].split("-", 3)[3]: (name, resource["Properties"])
        for name, resource in templates.resources("AWS::SQS::Queue", "messaging").items()
        if "-deliveries" in resource["Properties"]["QueueName"]
    }


def mappings(templates):
    return {
        name: resource["Properties"]
        for name, resource in templates.resources(
            "AWS::Lambda::EventSourceMapping", "messaging"
        ).items()
        if name.startswith("Webhooks")
    }


def test_each_queue_has_its_dead_letters(templates):
    found = queues(templates)
    assert set(found) == {
        "deliveries",
        "deliveries-dlq",
        "deliveries.fifo",
        "deliveries-dlq.fifo",
    }
    for name in ("deliveries", "deliveries.fifo"):
        _, queue = found[name]
        target, dead = found[name.replace("deliveries", "deliveries-dlq")]
        assert queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0] == target
        fifo = True if name.endswith(".fifo") else None
        assert (queue.get("FifoQueue"), dead.get("FifoQueue")) == (fifo, fifo)


def test_a_message_is_the_workers_for_as_long_as_it_runs(templates):
    _, worker = functions(templates)["messaging-deliver"]
    for name in ("deliveries", "deliveries.fifo"):
        assert queues(templates)[name][1]["VisibilityTimeout"] > worker["Timeout"]
    assert worker["Timeout"] > LEASE_SECONDS > 2 * TIMEOUT_SECONDS


def test_one_message_of_a_key_at_a_time(templates):
    sizes = {}
    for mapping in mappings(templates).values():
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["ScalingConfig"]["MaximumConcurrency"] >= 2
        source = mapping["EventSourceArn"]["Fn::GetAtt"][0]
        (name,) = (name for name, (known, _) in queues(templates).items() if known == source)
        sizes[name] = mapping["BatchSize"]
    assert sizes == {"deliveries": 10, "deliveries.fifo": 1}


def test_secrets_are_read_by_those_who_sign_alone(templates):
    readers = set()
    for role, statement in statements(templates):
        condition = json.dumps(statement.get("Condition", {}))
        reads = {"dynamodb:GetItem", "dynamodb:Query"} & set(as_list(statement["Action"]))
        if "SECRETS#*" in condition and reads:
            readers.add(role.split("-", 2)[2])
    assert readers == {"messaging-control", "messaging-deliver"}


def test_only_the_local_cloud_posts_to_loopback(templates):
    local = "local-operator" in json.dumps(templates.stacks["foundation"])
    for name in ("messaging-control", "messaging-deliver"):
        _, function = functions(templates)[name]
        variables = function["Environment"]["Variables"]
        assert variables["WEBHOOKS_ON_LOOPBACK"] == str(local).lower()


def test_the_sweep_runs_each_minute_and_signs_nothing(prod):
    schedules = prod.resources("AWS::Scheduler::Schedule", "messaging")
    expressions = {
        one["Properties"]["Name"]: one["Properties"]["ScheduleExpression"]
        for one in schedules.values()
    }
    assert expressions["santaclaude-prod-messaging-due-schedule"] == "rate(1 minute)"
    allowed = {
        action
        for role, statement in statements(prod)
        if role.endswith("-messaging-due")
        for action in as_list(statement["Action"])
    }
    assert not allowed & {"dynamodb:DeleteItem", "execute-api:Invoke", "sqs:ReceiveMessage"}
