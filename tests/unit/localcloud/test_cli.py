"""The command line: help, one line for a failure, exit codes."""

import errno
import signal

import pytest

from localcloud import cli
from localcloud.commands import LocalCloud
from localcloud.errors import LocalCloudError


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
