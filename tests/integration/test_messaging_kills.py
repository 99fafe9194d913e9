"""Processes that are killed between accepting an event and acknowledging its message: nothing is
lost, and the consumer's effect happens once.
"""

import signal
import subprocess
import time

import pytest

from bench.emulator import client, ministack
from tests.conftest import ROOT
from tests.fakes.mortal import (
    BUS,
    EFFECT,
    LEASE,
    QUEUE,
    REPORT,
    TYPE,
    command,
    counts,
    environment,
    prepare,
)

PUBLISHING = ("accepted", "on the bus", "marked")
CONSUMING = ("claimed", "done", "before the report", "reported")


@pytest.fixture(scope="module")
def endpoint():
    with ministack() as address:
        client("events", address).create_event_bus(Name=BUS)
        prepare(address, BUS, TYPE)
        yield address


def run(endpoint, work, event_id, step="") -> int:
    process = subprocess.run(
        command(endpoint, work, event_id, step),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode in {0, -signal.SIGKILL}, process.stderr
    return process.returncode


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
    assert counts(endpoint, EFFECT, [event_id])[event_id] == 1


@pytest.mark.parametrize("step", CONSUMING)
def test_a_consumer_is_killed(endpoint, step):
    event_id = f"consume-{step.replace(' ', '-')}"
    assert run(endpoint, "publish", event_id) == 0
    assert run(endpoint, "consume", event_id, step) == -signal.SIGKILL
    drained(endpoint, event_id)
    assert counts(endpoint, EFFECT, [event_id])[event_id] == 1
    assert counts(endpoint, REPORT, [event_id])[event_id] >= 1
