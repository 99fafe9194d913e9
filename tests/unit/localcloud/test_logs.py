"""What `make logs` prints, from files and from the emulated CloudWatch."""

import pytest
from botocore.exceptions import EndpointConnectionError

from localcloud import logs
from localcloud.logs import Logs
from localcloud.settings import load
from localcloud.state import StateDirectory


class CloudWatch:
    """One log group of the AI service, and one of another."""

    def __init__(self, _endpoint):
        self.messages = ["one", "two", "three"]
        self.running = True

    def client(self, _service):
        return self

    def get_paginator(self, operation):
        self.operation = operation
        return self

    def paginate(self, *, logGroupNamePrefix="", logGroupName="", startTime=0):  # noqa: N803
        if not self.running:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1")
        names = ["/aws/lambda/santaclaude-local-ai-api", "/aws/lambda/santaclaude-local-audit-api"]
        if not logGroupName:
            found = [name for name in names if name.startswith(logGroupNamePrefix)]
            return [{"logGroups": [{"logGroupName": name} for name in found]}]
        events = enumerate(self.messages)
        return [
            {
                "events": [
                    {"timestamp": at, "message": text} for at, text in events if at >= startTime
                ]
            }
        ]


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(logs, "Aws", CloudWatch)
    state = StateDirectory(tmp_path)
    state.logs.mkdir()
    return state


def made(name="ai"):
    return Logs(load(env_file=None), name)


def test_the_last_lines_of_each_log_of_the_service(state, capsys):
    (state.logs / "santaclaude-local-ai-stream.log").write_text("a\nb\nc\n")
    (state.logs / "santaclaude-local-audit-stream.log").write_text("other\n")
    (state.logs / "door.log").write_text('{"service": "ai"}\n{"service": "audit"}\n')
    made().show(lines=2, follow=False)
    assert capsys.readouterr().out.splitlines() == [
        "ai-stream | b",
        "ai-stream | c",
        'door | {"service": "ai"}',
        "ai-api | two",
        "ai-api | three",
    ]


def test_no_lines_are_none(state, capsys):
    (state.logs / "santaclaude-local-ai-stream.log").write_text("a\n")
    made().show(lines=0, follow=False)
    assert capsys.readouterr().out == ""


def test_files_are_shown_while_the_cloud_is_down(state, capsys):
    (state.logs / "santaclaude-local-ai-stream.log").write_text("a\n")
    shown = made()
    shown._aws.running = False
    shown.show(lines=2, follow=False)
    assert capsys.readouterr().out.splitlines()[0] == "ai-stream | a"


def test_what_is_added_is_shown_once_also_after_a_log_was_put_aside(state, capsys):
    log = state.logs / "santaclaude-local-ai-stream.log"
    log.write_text("a long line\n")
    shown = made()
    shown.show(lines=9, follow=False)
    capsys.readouterr()
    with log.open("a") as file:
        file.write("b\n")
    shown._aws.messages.append("four")
    shown._show_new()
    assert capsys.readouterr().out.splitlines() == ["ai-stream | b", "ai-api | four"]
    log.write_text("c\n")
    shown._show_new()
    assert capsys.readouterr().out.splitlines() == ["ai-stream | c"]
