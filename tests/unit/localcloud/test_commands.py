"""Stopping and removing what ran, whatever it was."""

import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from localcloud import commands, localstack, process
from localcloud.commands import LocalCloud
from localcloud.door.child import SOCKETS_PREFIX
from localcloud.errors import LocalCloudError
from localcloud.ministack import MiniStack
from localcloud.settings import ROOT, load
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


@pytest.fixture
def ports_of_ours(state, monkeypatch):
    """The ports of `running`, by the files of its start."""
    names = ("CLOUD", "PROJECTFLOW", "AI", "BROWSER", "AUDIT", "MESSAGING")
    with ExitStack() as sockets:
        for name in names:
            held = sockets.enter_context(socket.socket())
            held.bind(("127.0.0.1", 0))
            held.listen()
            monkeypatch.setenv(f"LOCAL_{name}_PORT", str(held.getsockname()[1]))
        settings = load(env_file=None)
        port = settings.cloud_port
        write_json(state.run / "cloud.json", {"name": "ministack", "model": None, "port": port})
        services = [{"name": each.name, "port": each.port} for each in settings.services]
        write_json(state.run / "door-plan.json", {"services": services})
        yield


@pytest.mark.enable_socket
@pytest.mark.usefixtures("ports_of_ours")
@pytest.mark.parametrize("variable", ["LOCAL_CLOUD_PORT", "LOCAL_AI_PORT"])
def test_a_new_port_that_is_busy_stops_nothing(running, monkeypatch, variable):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        monkeypatch.setenv(variable, str(busy.getsockname()[1]))
        with pytest.raises(LocalCloudError, match=f"is taken by .* set {variable} to another"):
            LocalCloud(load(env_file=None)).up("ministack")
    assert all(record.identity.alive() for record in running)


class NoStart(MiniStack):
    """An emulator that does not come up: a failure after what ran before was stopped."""

    def start(self) -> None:
        raise LocalCloudError("It does not start.", "")


@pytest.mark.enable_socket
@pytest.mark.usefixtures("ports_of_ours")
def test_our_own_ports_are_not_in_the_way_and_stopping_is_told(running, monkeypatch, capsys):
    monkeypatch.setattr(commands, "MiniStack", NoStart)
    with pytest.raises(LocalCloudError, match="It does not start"):
        LocalCloud(load(env_file=None)).up("ministack")
    assert not any(record.identity.alive() for record in running)
    door, emulator, *_ = capsys.readouterr().out.splitlines()
    assert (
        "Stopping the front door: open streams have 10 s to end, their functions 10 s more" in door
    )
    assert "Stopping ministack" in emulator


@pytest.mark.parametrize("command", ["down", "reset"])
def test_what_is_stopped_is_told_before(cloud, state, running, capsys, command):
    del state
    with suppress(LocalCloudError):
        getattr(cloud, command)()
    assert not any(record.identity.alive() for record in running)
    door, emulator = capsys.readouterr().out.splitlines()
    assert "Stopping the front door" in door
    assert "Stopping ministack" in emulator


@pytest.mark.usefixtures("running")
def test_a_reader_that_has_gone_stops_no_work(state):
    """`make down | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        result = subprocess.run(
            [sys.executable, "-m", "localcloud", "reset", "--yes"],
            env=os.environ | {"PYTHONPATH": str(ROOT / "localstack")},
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (result.returncode, result.stderr) == (0, "")
    assert not state.run.exists()


def test_the_lines_to_try_are_lines_of_a_shell():
    for line in commands._first_calls("http://localhost:8001"):
        subprocess.run(["sh", "-n", "-c", line], check=True)
