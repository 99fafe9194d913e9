"""Stopping and removing what ran, whatever it was."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from localcloud import commands, localstack, process
from localcloud.commands import LocalCloud
from localcloud.door.child import SOCKETS_PREFIX
from localcloud.errors import LocalCloudError
from localcloud.settings import load
from localcloud.state import StateDirectory, read_json, write_json


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
        if "--project-name" not in command:
            return subprocess.CompletedProcess(command, 0, "", "")
        assert options["env"]["LOCALSTACK_AUTH_TOKEN"]
        if "ps" in command:
            return subprocess.CompletedProcess(command, 0, "" if composed else "localstack\n", "")
        composed.append(command[6:])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(localstack.shutil, "which", lambda _name: "/usr/bin/docker")
    monkeypatch.setattr(localstack.subprocess, "run", run)
    write_json(state.run / "cloud.json", {"name": "localstack", "model": None})
    (state.run / "localstack.started").touch()
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


@pytest.fixture
def stopped_engine(monkeypatch):
    """Docker's command without its engine, as on a machine where it is switched off."""
    monkeypatch.setattr(localstack.shutil, "which", lambda _name: "/usr/bin/docker")
    monkeypatch.setattr(
        localstack.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, "", ""),
    )


@pytest.fixture
def running(state):
    """Processes in the place of the emulator and of the front door."""
    started = [
        process.start(
            state.run,
            name=name,
            command=["sleep", "60"],
            env={"PATH": os.defpath},
            cwd=state.root,
            log=state.logs / f"{name}.log",
            configuration="",
        )
        for name in ("ministack", "door")
    ]
    yield started
    for record in started:
        process.kill(record.identity)


@pytest.mark.usefixtures("stopped_engine")
def test_localstack_without_an_engine_leaves_everything_as_it_is(cloud, state, running):
    write_json(state.run / "cloud.json", {"name": "ministack", "model": None})
    with pytest.raises(LocalCloudError, match="engine does not run"):
        cloud.up("localstack")
    assert all(record.identity.alive() for record in running)
    assert read_json(state.run / "cloud.json")["name"] == "ministack"


@pytest.mark.usefixtures("stopped_engine")
def test_a_localstack_that_never_started_is_in_nobodys_way(cloud, state):
    write_json(state.run / "cloud.json", {"name": "localstack", "model": None})
    assert not cloud.down()
    cloud.reset()
    assert not (state.run / "cloud.json").exists()


@pytest.mark.usefixtures("stopped_engine")
def test_reset_names_the_volume_that_it_cannot_remove(cloud, state):
    write_json(state.run / "cloud.json", {"name": "ministack", "model": None})
    (state.run / "localstack.started").touch()
    with pytest.raises(LocalCloudError, match="docker volume rm santaclaude-local_localstack"):
        cloud.reset()
    assert not state.run.exists()


def test_the_lines_to_try_are_lines_of_a_shell():
    for line in commands._first_calls("http://localhost:8001"):
        subprocess.run(["sh", "-n", "-c", line], check=True)
