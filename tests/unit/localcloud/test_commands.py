"""Stopping and removing what ran, whatever it was."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from localcloud import commands, localstack, process
from localcloud.commands import LocalCloud
from localcloud.door.child import SOCKETS_PREFIX
from localcloud.settings import load
from localcloud.state import StateDirectory, write_json


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_STATE_DIR", str(tmp_path / "state"))
    state = StateDirectory(tmp_path / "state")
    state.create()
    return state


@pytest.fixture
def cloud(state):
    return LocalCloud(load(env_file=None))


def test_down_ends_the_tool_of_an_up_that_was_killed(cloud, state):
    left = process.start(
        state.run,
        name="tool",
        command=["sleep", "60"],
        env={"PATH": os.defpath},
        cwd=state.root,
        log=state.logs / "deploy.log",
        configuration="",
    )
    assert cloud.down()
    assert not left.identity.alive()
    assert not cloud.down()


def test_reset_removes_localstacks_volume_too(cloud, state, monkeypatch):
    composed = []

    def run(command, **options):
        assert options["env"]["LOCALSTACK_AUTH_TOKEN"]
        if "ps" in command:
            return subprocess.CompletedProcess(command, 0, "" if composed else "localstack\n", "")
        composed.append(command[6:])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(localstack.shutil, "which", lambda _name: "/usr/bin/docker")
    monkeypatch.setattr(localstack.subprocess, "run", run)
    write_json(state.run / "cloud.json", {"name": "localstack", "model": None})
    assert cloud.down()
    assert composed == [["down"]]
    cloud.reset()
    assert composed == [["down"], ["down", "--volumes"]]
    assert not (state.run / "cloud.json").exists()


def test_the_application_of_a_door_that_was_killed_is_ended_with_its_socket(cloud, state):
    sockets = Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX))
    left = process.start(
        state.run,
        name="streamed-ai-stream-1",
        command=["sleep", "60"],
        env={"PATH": os.defpath},
        cwd=state.root,
        log=state.logs / "ai-stream.log",
        configuration=str(sockets),
    )
    cloud.down()
    assert not left.identity.alive()
    assert not sockets.exists()
    assert list(state.run.glob("streamed-*")) == []


def test_the_lines_to_try_are_lines_of_a_shell():
    for line in commands._first_calls("http://localhost:8001"):
        subprocess.run(["sh", "-n", "-c", line], check=True)
