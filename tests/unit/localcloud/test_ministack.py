"""The emulator's process: started, saved, stopped and missed. A script with its words stands in."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from localcloud import guard
from localcloud.errors import LocalCloudError
from localcloud.ministack import MiniStack
from localcloud.process import find, recorded
from localcloud.settings import load
from localcloud.state import StateDirectory

pytestmark = pytest.mark.enable_socket
SCRIPT = """
import http.server, os, signal, sys, threading
words = {words!r}
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        if self.command == "POST":
            print(words.get("save", ""), flush=True)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    do_GET = do_POST = answer
    def log_message(self, *_):
        pass
print(words.get("start", ""), flush=True)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["GATEWAY_PORT"])), Handler)
def end(*_):
    print("MiniStack shutting down...", words.get("stop", ""), sep="\\n", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
server.serve_forever()
"""


@pytest.fixture
def state(tmp_path):
    state = StateDirectory(tmp_path / "state")
    state.create()
    return state


@pytest.fixture
def ministack(state, tmp_path, monkeypatch):
    def make(**words: str) -> MiniStack:
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.format(words=words))
        monkeypatch.setattr(guard, "__file__", str(script))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setenv("LOCAL_CLOUD_PORT", str(free.getsockname()[1]))
        made.append(MiniStack(load(env_file=None), state))
        return made[-1]

    made: list[MiniStack] = []
    yield make
    for each in made:
        try:
            each.stop()
        except LocalCloudError:
            continue


def end(state: StateDirectory, number: signal.Signals) -> None:
    record = find(state.run, "ministack")
    assert record is not None
    os.kill(record.identity.pid, number)
    while record.identity.alive():
        time.sleep(0.01)


def test_it_runs_until_it_is_stopped(ministack, state):
    made = ministack()
    made.start()
    assert made.running()
    made.save()
    made.stop()
    assert not made.running()
    assert recorded(state.run, "ministack") is None
    made.stop()


def test_other_settings_need_a_new_start(ministack, state):
    ministack().start()
    assert not MiniStack(load(env_file=None, model="llama3.2"), state).running()


@pytest.mark.parametrize("variable", ["PATH", "LANG", "LC_ALL", "TZ", "USER"])
def test_another_shell_needs_no_new_start(ministack, monkeypatch, variable):
    """It would cut the streams of those who use it."""
    made = ministack()
    made.start()
    monkeypatch.setenv(variable, "another")
    assert made.running()


def test_a_crash_is_told_once(ministack, state):
    made = ministack()
    made.start()
    end(state, signal.SIGKILL)
    with pytest.raises(LocalCloudError, match="without saving its state: what came after"):
        made.stop()
    made.stop()


def test_who_was_ended_cleanly_by_another_has_saved(ministack, state):
    made = ministack()
    made.start()
    end(state, signal.SIGTERM)
    made.stop()
    assert not made.running()


def test_what_could_not_be_saved_is_named(ministack):
    failed = "ERROR [persistence] Persistence: failed to save dynamodb: No space left on device"
    made = ministack(stop=failed, save=failed)
    made.start()
    with pytest.raises(LocalCloudError, match="cannot save its state: dynamodb"):
        made.save()
    with pytest.raises(LocalCloudError, match="stopped without saving its state: dynamodb"):
        made.stop()


def test_unreadable_state_is_not_saved_over(ministack, state):
    made = ministack(start="ERROR Persistence: failed to load dynamodb: Expecting value")
    with pytest.raises(LocalCloudError, match=r"saved state of dynamodb .* cannot be read"):
        made.start()
    assert recorded(state.run, "ministack") is None
    assert "shutting down" not in (state.logs / "ministack.log").read_text()


def test_objects_of_a_first_start_that_crashed_do_not_stay_alone(ministack, state):
    """Their bucket would be in the way of the stack that makes it."""
    object_ = state.cloud / "s3" / "bucket" / "key"
    object_.parent.mkdir(parents=True)
    object_.touch()
    saved = state.cloud / "state" / "dynamodb.json"
    saved.parent.mkdir()
    saved.touch()
    made = ministack()
    made.start()
    made.stop()
    assert object_.exists()
    saved.unlink()
    made.start()
    assert not object_.exists()
    assert Path(state.cloud).is_dir()
