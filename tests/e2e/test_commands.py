"""The commands on a running local cloud, and starts that must fail cleanly."""

import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from tests.e2e.conftest import free_ports
from tests.fakes.processes import processes


def test_up_again_deploys_nothing(cloud):
    result = cloud.command("up")
    assert result.returncode == 0
    assert "Synthesizing" not in result.stdout
    assert "Deploying" not in result.stdout


def test_status_tells_where_things_are(cloud):
    result = cloud.command("status")
    assert result.returncode == 0
    assert str(cloud.ports["AI"]) in result.stdout
    assert cloud.api_id() in result.stdout


def test_logs_show_the_functions_and_the_streamed_application(cloud, ai, session):
    ai.get("/api/v1/providers", headers={"X-Request-Id": "find-me-in-the-logs"})
    assert "find-me-in-the-logs" in cloud.command("logs", "ai").stdout
    assert cloud.command("logs", "nothing").returncode != 0


@pytest.fixture
def elsewhere():
    folder = Path(tempfile.mkdtemp(prefix="sc-e2e-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_busy_port_is_named_and_nothing_is_left_running(cloud, elsewhere):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = busy.getsockname()[1]
        spare = free_ports(5)
        result = cloud.command(
            "up",
            LOCAL_STATE_DIR=str(elsewhere),
            LOCAL_AI_PORT=str(taken),
            LOCAL_CLOUD_PORT=str(spare[0]),
            LOCAL_PROJECTFLOW_PORT=str(spare[1]),
            LOCAL_BROWSER_PORT=str(spare[2]),
            LOCAL_AUDIT_PORT=str(spare[3]),
            LOCAL_MESSAGING_PORT=str(spare[4]),
        )
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert str(taken) in line
    assert "LOCAL_AI_PORT" in line
    with socket.socket() as free:
        free.bind(("127.0.0.1", spare[0]))


def test_a_crash_of_the_emulator_is_told_and_healed(cloud, ai, session):
    """What was deployed is there again without a new deployment; later data is lost, and said."""
    victims = processes("localcloud/guard.py", cloud.state)
    assert victims
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    result = cloud.command("up")
    assert result.returncode == 0, result.stderr
    assert "lost" in result.stdout + result.stderr
    assert "Deploying" not in result.stdout
    assert ai.get("/api/v1/providers").status_code == 200


def test_a_wrong_setting_is_named(cloud):
    result = cloud.command("up", LOCAL_AI_PORT="many")
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert "LOCAL_AI_PORT" in line
