"""When the deployment is skipped, and what is told when it fails."""

import os
import time
from pathlib import Path

import pytest

from localcloud import chromium, deployment, process
from localcloud.errors import LocalCloudError
from localcloud.progress import Progress
from localcloud.settings import load
from localcloud.state import StateDirectory


@pytest.fixture
def root(tmp_path):
    for path, text in {
        "app.py": "app",
        "cdk.json": "{}",
        "infra/stacks/ai.py": "stack",
        "functions/ai/stream.sh": "run",
        "functions/ai/requirements.txt": "a==1",
        "contracts/openapi/ai.v1.json": "{}",
        "layers/common/python/servicekit/x.py": "x",
        "tests/test_x.py": "test",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_the_same_inputs_give_the_same_fingerprint(root):
    context = {"env": "local"}
    first = deployment.fingerprint(root, context)
    (root / "tests/test_x.py").write_text("changed")
    (root / "functions/ai/__pycache__").mkdir()
    (root / "functions/ai/__pycache__/x.py").touch()
    os.utime(root / "app.py", (1, 1))
    assert deployment.fingerprint(root, context) == first


@pytest.mark.parametrize(
    "path",
    [
        "app.py",
        "cdk.json",
        "infra/stacks/ai.py",
        "functions/ai/stream.sh",
        "functions/ai/requirements.txt",
        "contracts/openapi/ai.v1.json",
        "functions/ai/new.py",
    ],
)
def test_a_changed_input_changes_it(root, path):
    first = deployment.fingerprint(root, {"env": "local"})
    (root / path).write_text("other")
    assert deployment.fingerprint(root, {"env": "local"}) != first


def test_so_do_a_moved_file_a_lost_right_to_run_and_another_model(root):
    first = deployment.fingerprint(root, {"env": "local"})
    assert deployment.fingerprint(root, {"env": "local", "default_model": "x"}) != first
    (root / "functions/ai/stream.sh").chmod(0o755)
    second = deployment.fingerprint(root, {"env": "local"})
    assert second != first
    (root / "app.py").rename(root / "infra/app.py")
    assert deployment.fingerprint(root, {"env": "local"}) not in {first, second}


class Parameters:
    def __init__(self, value):
        self.value = value

    def parameter(self, name):
        assert name.startswith("/santaclaude/local/")
        return self.value


def test_a_cloud_that_lost_its_state_is_deployed_anew(tmp_path):
    def current(value):
        settings = load(env_file=None)
        state = StateDirectory(tmp_path)
        return deployment.Deployment(settings, state, Parameters(value), Progress()).is_current()

    known = deployment.fingerprint(
        deployment.ROOT, deployment.Deployment(load(env_file=None), None, None, None).context()
    )
    assert current(known)
    assert not current("older")
    assert not current(None)


def test_the_browser_is_the_machines(tmp_path, monkeypatch):
    monkeypatch.setattr(chromium, "find", lambda: Path("/opt/chromium"))
    monkeypatch.setattr(chromium, "sandboxes", lambda _: True)
    settings = load(env_file=None, browser_sites="127.0.0.1:9000")
    made = deployment.Deployment(settings, StateDirectory(tmp_path), None, Progress())
    context = made.context()
    assert (context["chromium_path"], context["chromium_sandbox"]) == ("/opt/chromium", "true")
    assert context["browser_loopback_sites"] == "127.0.0.1:9000"
    assert made.browser() is None


def test_without_a_browser_its_remedy_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(chromium, "find", lambda: None)
    settings = load(env_file=None, browser_sites="127.0.0.1:9000")
    made = deployment.Deployment(settings, StateDirectory(tmp_path), None, Progress())
    assert "browser_loopback_sites" not in made.context()
    assert chromium.REMEDY in made.browser()


def test_the_model_behind_bedrock_is_the_services_model(tmp_path, monkeypatch):
    monkeypatch.setattr(chromium, "find", lambda: None)
    settings = load(env_file=None, model="llama3.2:3b")
    made = deployment.Deployment(settings, StateDirectory(tmp_path), None, Progress())
    assert made.context() == {
        "env": "local",
        "endpoint": "http://127.0.0.1:4566",
        "websocket_url": "ws://127.0.0.1:8004/ws",
        "default_model": "llama3.2:3b",
        "additional_models": "llama3.2:3b",
    }


def test_a_failed_tool_is_one_line_with_its_own_reason(tmp_path):
    log = tmp_path / "deploy.log"
    log.write_text("Error: of an earlier run\n")
    script = "echo working; echo 'Error: the table exists' ; echo bye; exit 3"
    with pytest.raises(LocalCloudError) as caught:
        deployment.run_tool(
            ["sh", "-c", script],
            env={"PATH": os.defpath},
            run=tmp_path,
            log=log,
            title="`cdk deploy`",
        )
    assert caught.value.reason == "`cdk deploy` failed: Error: the table exists"
    assert str(log) in caught.value.remedy


def test_a_missing_tool_is_named(tmp_path):
    with pytest.raises(LocalCloudError, match="no-such-tool is missing"):
        deployment.run_tool(
            ["no-such-tool"], env={}, run=tmp_path, log=tmp_path / "log", title="It"
        )


def test_the_tool_of_a_killed_command_is_ended(tmp_path):
    left = process.start(
        tmp_path,
        name="tool",
        command=["sleep", "60"],
        env={"PATH": os.defpath},
        cwd=tmp_path,
        log=tmp_path / "log",
        configuration="",
    )
    deployment.end_leftover_tool(tmp_path)
    assert not left.identity.alive()
    deployment.end_leftover_tool(tmp_path)


def test_a_tool_that_takes_too_long_is_ended_with_what_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(deployment, "_TIMEOUT_SECONDS", 0.5)
    log = tmp_path / "log"
    with pytest.raises(LocalCloudError, match="took more than"):
        deployment.run_tool(
            ["sh", "-c", "sleep 60 & echo $!; wait"],
            env={"PATH": os.defpath},
            run=tmp_path,
            log=log,
            title="It",
        )
    deadline = time.monotonic() + 10
    while process.Identity.of(int(log.read_text())) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.Identity.of(int(log.read_text())) is None
    assert process.find(tmp_path, "tool") is None


class Stacks(Parameters):
    @property
    def cloudformation(self):
        return self

    def describe_stacks(self, StackName):  # noqa: N803
        return {"Stacks": [{"StackName": StackName, "StackStatus": self.value}]}


def test_a_bootstrap_that_failed_is_done_again(tmp_path):
    def bootstrapped(status):
        made = deployment.Deployment(None, StateDirectory(tmp_path), Stacks(status), Progress())
        return made._bootstrapped()

    assert bootstrapped("CREATE_COMPLETE")
    assert not bootstrapped("ROLLBACK_COMPLETE")
    assert not bootstrapped("DELETE_COMPLETE")
