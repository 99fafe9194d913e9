"""Processes that outlive the command: found again, told apart, stopped."""

import os
import signal
import subprocess
import sys
import time

import pytest

from localcloud import process
from localcloud.errors import LocalCloudError


def start(tmp_path, code, name="child"):
    return process.start(
        tmp_path,
        name=name,
        command=[sys.executable, "-c", code],
        env={"PATH": os.defpath},
        cwd=tmp_path,
        log=tmp_path / f"{name}.log",
        configuration="v1",
    )


SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('deaf', flush=True); time.sleep(60)"
)


def test_a_started_process_is_found_until_it_is_stopped(tmp_path):
    record = start(tmp_path, SLEEP)
    assert process.find(tmp_path, "child") == record
    assert process.stop(record.identity, seconds=10)
    assert process.find(tmp_path, "child") is None


def test_a_process_of_the_same_number_is_not_taken_for_ours(tmp_path):
    mine = process.Identity.of(os.getpid())
    assert mine is not None
    assert mine.alive()
    earlier = process.Identity(os.getpid(), "another boot/1")
    assert not earlier.alive()
    # It would end this test run if it were taken for ours.
    assert process.stop(earlier, seconds=0)
    process.Record("other", earlier, tmp_path / "log", "v1").save(tmp_path)
    assert process.find(tmp_path, "other") is None


def test_a_process_that_does_not_listen_is_killed(tmp_path):
    record = start(tmp_path, STUBBORN)
    process.wait_until(record, lambda: "deaf" in record.log.read_text(), seconds=30)
    assert not process.stop(record.identity, seconds=0.1)
    assert not record.identity.alive()


def test_ctrl_c_does_not_reach_it(tmp_path):
    record = start(tmp_path, SLEEP)
    try:
        assert os.getsid(record.identity.pid) == record.identity.pid
    finally:
        os.kill(record.identity.pid, signal.SIGKILL)


def test_a_crash_during_the_start_gives_the_last_words(tmp_path):
    record = start(tmp_path, "print('about to', flush=True); raise SystemExit('no such table')")
    with pytest.raises(LocalCloudError, match="child ended while it started: no such table"):
        process.wait_until(record, lambda: False, seconds=30)


def test_waiting_has_an_end(tmp_path):
    record = start(tmp_path, SLEEP)
    try:
        with pytest.raises(LocalCloudError, match="did not answer within 0 s"):
            process.wait_until(record, lambda: False, seconds=0.05)
    finally:
        process.stop(record.identity, seconds=10)


@pytest.mark.parametrize("text", ["", "null", "{}", '{"name": "x"}', '{"na'])
def test_a_broken_record_counts_as_none(tmp_path, text):
    (tmp_path / "child.json").write_text(text)
    assert process.find(tmp_path, "child") is None


def test_a_large_log_is_put_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_LOG_BYTES", 10)
    log = tmp_path / "child.log"
    log.write_text("x" * 11)
    os.close(process.open_log(log))
    assert log.read_text() == ""
    assert (tmp_path / "child.old.log").exists()


def test_an_ended_child_of_ours_does_not_count_as_alive(tmp_path):
    record = start(tmp_path, "")
    deadline = time.monotonic() + 30
    # Its exit status is not collected yet: a zombie.
    while record.identity.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.Identity.of(record.identity.pid) is None


@pytest.mark.timeout(30)
def test_a_deaf_process_within_anothers_session_is_killed_too(tmp_path):
    """As the applications of a front door that was killed."""
    code = (
        "import subprocess, sys, time; "
        f"print(subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]).pid, flush=True); "
        "time.sleep(60)"
    )
    leader = start(tmp_path, code, "leader")
    process.wait_until(leader, lambda: "deaf" in leader.log.read_text(), seconds=30)
    child = process.Identity.of(int(leader.log.read_text().split()[0]))
    os.kill(leader.identity.pid, signal.SIGKILL)
    assert not process.stop(child, seconds=0.1)
    assert not child.alive()


def test_the_last_words_are_not_those_of_an_earlier_run(tmp_path):
    (tmp_path / "child.log").write_text("an earlier run\n")
    record = start(tmp_path, "raise SystemExit(3)")
    with pytest.raises(LocalCloudError, match="it said nothing"):
        process.wait_until(record, lambda: False, seconds=30)


@pytest.fixture
def interruptible():
    """Ctrl-C as a command has it: what starts the tests may have had it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_waits_for_the_record(tmp_path, monkeypatch):
    """Else what was started could not be found again."""
    popen = process.subprocess.Popen

    def interrupted(*arguments, **options):
        child = popen(*arguments, **options)
        signal.raise_signal(signal.SIGINT)
        return child

    monkeypatch.setattr(process.subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, SLEEP)
    left = process.find(tmp_path, "child")
    assert left is not None
    assert process.stop(left.identity, seconds=10)


@pytest.mark.usefixtures("interruptible")
def test_cleaning_up_is_not_disturbed_and_passes_nothing_on():
    with process.undisturbed():
        signal.raise_signal(signal.SIGINT)
        inherited = subprocess.run(
            [sys.executable, "-c", "import signal; print(repr(signal.getsignal(signal.SIGTERM)))"],
            capture_output=True,
            text=True,
            check=True,
        )
    assert "SIG_DFL" in inherited.stdout
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
