"""Settings from the environment and `.env`, and what is wrong with them in one line."""

import pytest

from localcloud import settings
from localcloud.errors import LocalCloudError


def test_services_stand_where_their_callers_expect_them():
    ports = {service.name: service.port for service in settings.load(env_file=None).services}
    assert ports == {
        "projectflow": 8000,
        "ai": 8001,
        "browser": 8002,
        "audit": 8003,
        "messaging": 8004,
    }


def test_environment_goes_before_the_file_and_the_command_line_before_both(tmp_path, monkeypatch):
    file = tmp_path / ".env"
    file.write_text("LOCAL_AI_PORT=9001\nLOCAL_MODEL=from-file\nOPENAI_API_KEY=x\n")
    assert settings.load(env_file=file).ai_port == 9001
    monkeypatch.setenv("LOCAL_AI_PORT", "9101")
    read = settings.load(env_file=file, model="given")
    assert (read.ai_port, read.model) == (9101, "given")


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("LOCAL_MODEL", "")
    assert settings.load(env_file=None).model is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [("LOCAL_AI_PORT", "0"), ("LOCAL_AI_PORT", "many"), ("LOCAL_MODEL", "a b; rm")],
)
def test_a_bad_value_is_named(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(LocalCloudError) as caught:
        settings.load(env_file=None)
    assert caught.value.reason.startswith(f"{variable}: ")
    assert ".env" in caught.value.remedy


def test_a_home_that_nobody_has_is_named(monkeypatch):
    monkeypatch.setenv("LOCAL_STATE_DIR", "~nobody-has-this-name/cloud")
    with pytest.raises(LocalCloudError, match=r"^LOCAL_STATE_DIR: ~nobody"):
        settings.load(env_file=None)


def test_one_port_for_two_services_is_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_AI_PORT", "8000")
    with pytest.raises(LocalCloudError, match="port 8000 is given twice"):
        settings.load(env_file=None)


def test_a_relative_state_directory_lies_in_the_repository(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert settings.load(env_file=None).state == settings.ROOT / ".local"


def test_a_file_of_another_encoding_is_named(tmp_path):
    file = tmp_path / ".env"
    file.write_bytes("OPENAI_API_KEY=Schlüssel".encode("latin-1"))
    with pytest.raises(LocalCloudError, match="UTF-8"):
        settings.load(env_file=file)
