"""Processes that are killed between accepting an event and acknowledging its message: nothing is
lost, and the consumer's effect happens once.
"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bench.emulator import client, create_table, ministack
from tests.conftest import ROOT
from tests.fakes.mortal import BUS, LEASE, QUEUE, TABLE, TYPE

PUBLISHING = ("accepted", "on the bus", "marked")
CONSUMING = ("claimed", "done", "before the report", "reported")


@pytest.fixture(scope="module")
def endpoint():
    with ministack() as address:
        create_table(client("dynamodb", address), TABLE, 3)
        events, sqs = client("events", address), client("sqs", address)
        events.create_event_bus(Name=BUS)
        # A message that nobody acknowledged comes again soon.
        url = sqs.create_queue(QueueName=QUEUE, Attributes={"VisibilityTimeout": "1"})["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        pattern = json.dumps({"detail-type": [TYPE]})
        events.put_rule(Name="all", EventBusName=BUS, EventPattern=pattern)
        target = {"Id": "queue", "Arn": arn["QueueArn"]}
        events.put_targets(Rule="all", EventBusName=BUS, Targets=[target])
        yield address


def run(endpoint, work, event_id, step="") -> int:
    process = subprocess.run(
        [sys.executable, "-m", "tests.fakes.mortal", endpoint, work, event_id, step],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'layers/common/python'}",
            "AWS_DEFAULT_REGION": "us-east-1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode in {0, -signal.SIGKILL}, process.stderr
    return process.returncode


def times(endpoint, kind, event_id) -> int:
    key = {"pk": {"S": f"{kind}#{event_id}"}, "sk": {"S": kind}}
    item = client("dynamodb", endpoint).get_item(TableName=TABLE, Key=key).get("Item")
    return int(item["times"]["N"]) if item else 0


def left(endpoint) -> int:
    sqs = client("sqs", endpoint)
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(value) for value in found.values())


def drained(endpoint, event_id) -> None:
    for _ in range(10):
        run(endpoint, "consume", event_id)
        if not left(endpoint):
            return
        time.sleep(LEASE.total_seconds())
    raise AssertionError


@pytest.mark.parametrize("step", PUBLISHING)
def test_a_publisher_is_killed(endpoint, step):
    event_id = f"publish-{step.replace(' ', '-')}"
    assert run(endpoint, "publish", event_id, step) == -signal.SIGKILL
    run(endpoint, "sweep", event_id)
    drained(endpoint, event_id)
    assert times(endpoint, "EFFECT", event_id) == 1


@pytest.mark.parametrize("step", CONSUMING)
def test_a_consumer_is_killed(endpoint, step):
    event_id = f"consume-{step.replace(' ', '-')}"
    assert run(endpoint, "publish", event_id) == 0
    assert run(endpoint, "consume", event_id, step) == -signal.SIGKILL
    drained(endpoint, event_id)
    assert times(endpoint, "EFFECT", event_id) == 1
    assert times(endpoint, "REPORT", event_id) >= 1
