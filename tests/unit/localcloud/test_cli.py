"""The command line: help, one line for a failure, exit codes."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from localcloud import cli
from localcloud.commands import LocalCloud
from localcloud.errors import LocalCloudError
from localcloud.settings import ROOT
from localcloud.state import StateDirectory


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_STATE_DIR", str(tmp_path / "state"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_help_names_every_command_and_setting(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for word in ("up", "down", "status", "logs", "reset", "LOCAL_AI_PORT", "OPENAI_API_KEY"):
        assert word in text


def test_status_of_what_never_ran(capsys):
    assert cli.main(["status"]) == 3
    assert "not running" in capsys.readouterr().out


def test_down_without_a_start_is_no_error(capsys):
    assert cli.main(["down"]) == 0
    assert capsys.readouterr().out == "It was not running.\n"


def test_reset_asks_first(capsys, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda _question: "n")
    assert cli.main(["reset"]) == 1
    assert cli.main(["reset", "--yes"]) == 0


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (LocalCloudError("It broke.", "Mend it."), 1, "up: It broke. Mend it.\n"),
        (
            OSError(errno.ENOSPC, "x"),
            1,
            "up: No space is left on the disk. Free some, or set LOCAL_STATE_DIR elsewhere.\n",
        ),
        (KeyboardInterrupt(), 130, "up: interrupted; what it started is stopped.\n"),
        (
            PermissionError(errno.EPERM, "x", "/state"),
            1,
            "up: /state cannot be written. Make it yours, or set LOCAL_STATE_DIR.\n",
        ),
    ],
)
def test_a_failure_is_one_line_and_not_zero(capsys, monkeypatch, error, code, line):
    def fail(_self, _cloud):
        raise error

    monkeypatch.setattr(LocalCloud, "up", fail)
    assert cli.main(["up"]) == code
    assert capsys.readouterr().err == line


def test_logs_of_an_unknown_service_name_the_known(capsys):
    assert cli.main(["logs", "mail"]) == 1
    assert "projectflow, ai, browser, audit, messaging" in capsys.readouterr().err


def test_a_stopped_command_undoes_like_an_interrupted_one():
    with pytest.raises(KeyboardInterrupt):
        cli._interrupt(signal.SIGTERM, None)


def test_a_reader_that_has_enough_is_no_failure(tmp_path):
    """`make logs | head`."""
    state = StateDirectory(tmp_path / "state")
    state.create()
    (state.logs / "deploy.log").write_text("line\n" * 100_000)
    command = f"{sys.executable} -m localcloud logs deploy -n 100000 | head -n 1"
    result = subprocess.run(
        ["sh", "-c", command],
        env=os.environ | {"PYTHONPATH": str(ROOT / "localstack")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (result.stdout, result.stderr) == ("deploy | line\n", "")


def test_the_state_directory_can_be_no_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOCAL_STATE_DIR", str(tmp_path / "file"))
    assert cli.main(["up"]) == 1
    assert "LOCAL_STATE_DIR" in capsys.readouterr().err


def test_a_state_directory_that_cannot_be_made_is_named(monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_STATE_DIR", "/proc/none/state")
    assert cli.main(["up"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("up: LOCAL_STATE_DIR: /proc")
    assert line.endswith("Set it to a directory that is yours to write.")


def test_the_help_of_status_says_what_make_answers(capsys):
    """Make ends with 2 whatever a command of it ends with."""
    with pytest.raises(SystemExit):
        cli.main(["status", "--help"])
    text = capsys.readouterr().out
    assert "exit code 3" in text
    assert "from make: 2" in text


def test_a_reader_of_the_status_that_has_gone_is_no_failure():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        result = subprocess.run(
            [sys.executable, "-m", "localcloud", "status"],
            env=os.environ | {"PYTHONPATH": str(ROOT / "localstack")},
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (result.returncode, result.stderr) == (3, "")


def test_ctrl_c_while_it_loads_is_one_line(tmp_path):
    """The AWS library takes a moment."""
    (tmp_path / "botocore").mkdir()
    (tmp_path / "botocore" / "__init__.py").write_text("raise KeyboardInterrupt")
    result = subprocess.run(
        [sys.executable, "-m", "localcloud", "status"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'localstack'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (130, "interrupted.\n")
