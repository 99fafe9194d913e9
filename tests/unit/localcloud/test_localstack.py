"""LocalStack proper: the compose file and the command. It was not run: see the compose file."""

import re
import subprocess

import pytest
import yaml

from localcloud import localstack
from localcloud.errors import LocalCloudError
from localcloud.localstack import COMPOSE_FILE, LocalStack
from localcloud.settings import load
from localcloud.state import StateDirectory


@pytest.fixture
def service():
    return yaml.safe_load(COMPOSE_FILE.read_text())["services"]["localstack"]


def test_the_file_has_what_compose_knows_and_nothing_else():
    document = yaml.safe_load(COMPOSE_FILE.read_text())
    assert set(document) == {"name", "services", "volumes"}
    assert set(document["services"]) == {"localstack"}
    assert set(document["services"]["localstack"]) == {
        "image",
        "ports",
        "environment",
        "volumes",
        "healthcheck",
    }
    assert set(document["services"]["localstack"]["healthcheck"]) == {
        "test",
        "interval",
        "timeout",
        "retries",
    }


def test_the_image_is_pinned(service):
    assert re.fullmatch(r"localstack/localstack-pro:\d+\.\d+\.\d+", service["image"])


def test_it_listens_on_loopback_only(service):
    assert service["ports"] == ["127.0.0.1:${LOCAL_CLOUD_PORT:-4566}:4566"]


def test_the_token_is_required_and_not_in_the_file(service):
    assert service["environment"]["LOCALSTACK_AUTH_TOKEN"].startswith("${LOCALSTACK_AUTH_TOKEN:?")


def test_it_enforces_iam_and_keeps_state_in_a_named_volume(service):
    assert service["environment"]["ENFORCE_IAM"] == "1"
    assert service["environment"]["PERSISTENCE"] == "1"
    assert "localstack:/var/lib/localstack" in service["volumes"]


def test_it_has_every_service_that_the_app_uses(service):
    named = set(service["environment"]["SERVICES"].split(","))
    assert {"apigateway", "cloudformation", "dynamodb", "iam", "lambda", "logs", "s3"} <= named
    assert {"ssm", "sts", "secretsmanager", "bedrock"} <= named


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    monkeypatch.delenv("LOCALSTACK_AUTH_TOKEN", raising=False)
    state = StateDirectory(tmp_path / "state")
    state.create()
    return LocalStack(load(env_file=None), state, env_file=tmp_path / ".env")


def test_the_command_names_our_project_and_file(cloud):
    assert cloud.command("up", "--detach", "--wait") == [
        "docker",
        "compose",
        "--project-name",
        "santaclaude-local",
        "--file",
        str(COMPOSE_FILE),
        "up",
        "--detach",
        "--wait",
    ]


def test_the_token_comes_from_the_environment_or_the_file(cloud, tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("LOCALSTACK_AUTH_TOKEN=ls-file\n")
    assert cloud.environment()["LOCALSTACK_AUTH_TOKEN"] == "ls-file"
    monkeypatch.setenv("LOCALSTACK_AUTH_TOKEN", "ls-environment")
    assert cloud.environment()["LOCALSTACK_AUTH_TOKEN"] == "ls-environment"
    assert cloud.environment()["LOCAL_CLOUD_PORT"] == "4566"


def test_no_docker_is_said_with_the_way_out(cloud, monkeypatch):
    monkeypatch.setattr(localstack.shutil, "which", lambda _name: None)
    assert not cloud.running()
    with pytest.raises(LocalCloudError, match="not installed"):
        cloud.start()


def answer(code, *, but=None):
    """Docker's answer to every command; `but` names one that fails."""

    def run(command, **_):
        return subprocess.CompletedProcess(command, 1 if but in command else code, "", "")

    return run


def test_a_stopped_engine_is_said(cloud, monkeypatch):
    monkeypatch.setattr(localstack.shutil, "which", lambda _name: "/usr/bin/docker")
    monkeypatch.setattr(localstack.subprocess, "run", answer(1))
    with pytest.raises(LocalCloudError, match="engine does not run"):
        cloud.start()


def test_an_engine_without_compose_is_said(cloud, monkeypatch):
    monkeypatch.setattr(localstack.shutil, "which", lambda _name: "/usr/bin/docker")
    monkeypatch.setattr(localstack.subprocess, "run", answer(0, but="compose"))
    with pytest.raises(LocalCloudError, match="Compose, which is not installed"):
        cloud.require()


def test_what_never_started_is_not_asked_of_docker(cloud, monkeypatch):
    monkeypatch.setattr(localstack.shutil, "which", lambda _name: "/usr/bin/docker")
    monkeypatch.setattr(localstack.subprocess, "run", lambda *_, **__: pytest.fail("asked"))
    assert not cloud.running()
    cloud.stop()
    cloud.remove_state()


def test_a_missing_token_is_said_before_anything_starts(cloud, monkeypatch):
    monkeypatch.setattr(localstack.shutil, "which", lambda _name: "/usr/bin/docker")
    monkeypatch.setattr(localstack.subprocess, "run", answer(0))
    with pytest.raises(LocalCloudError, match="LOCALSTACK_AUTH_TOKEN"):
        cloud.start()
