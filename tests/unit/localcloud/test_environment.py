"""Nothing of the person's own reaches the cloud's processes by accident."""

import pytest

from localcloud import environment
from localcloud.ministack import MiniStack
from localcloud.settings import load
from localcloud.state import StateDirectory

PERSON = {
    "AWS_PROFILE": "production",
    "AWS_SECRET_ACCESS_KEY": "real",
    "HTTPS_PROXY": "http://proxy",
    "OPENAI_API_KEY": "sk",
    "PYTHONPATH": "/elsewhere",
    "HOME": "/home/person",
    "LANG": "de_DE.UTF-8",
    "LOCAL_MODEL": "x",
}


@pytest.fixture
def state(tmp_path):
    return StateDirectory(tmp_path)


def test_functions_inherit_neither_keys_nor_proxies_nor_home(state):
    found = environment.bare(state, environ=PERSON)
    assert set(found) == {
        "HOME",
        "LANG",
        "NODE_COMPILE_CACHE",
        "PATH",
        "PYTHONUNBUFFERED",
        "TMPDIR",
    }
    assert found["HOME"] == str(state.home)


def test_bundling_keeps_the_persons_proxy_but_not_their_account(state):
    found = environment.synthesis(state, environ=PERSON)
    assert found["HTTPS_PROXY"] == "http://proxy"
    assert not any(name.startswith("AWS_") for name in found)
    assert found["PYTHONPATH"] != "/elsewhere"


def test_the_cdk_cli_sees_the_emulated_account_only():
    found = environment.credentials(load(env_file=None))
    assert found["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"
    assert found["AWS_CONFIG_FILE"] == found["AWS_SHARED_CREDENTIALS_FILE"] == "/dev/null"


def test_ministack_enforces_iam_listens_on_loopback_and_keeps_its_state(state):
    found = MiniStack(load(env_file=None), state).environment()
    assert found["AUTH"] == "true"
    assert found["BIND_HOST"] == "127.0.0.1"
    assert found["PERSIST_STATE"] == found["S3_PERSIST"] == "1"
    assert found["STATE_DIR"].startswith(str(state.root))
    assert found["S3_DATA_DIR"].startswith(str(state.root))
    assert "MINISTACK_BEDROCK_PROXY_URL" not in found
    assert "AWS_ENDPOINT_URL_BEDROCK_RUNTIME" not in found


def test_a_model_puts_ollama_behind_bedrock(state):
    found = MiniStack(load(env_file=None, model="llama3.2"), state).environment()
    assert found["MINISTACK_BEDROCK_PROXY_URL"] == "http://127.0.0.1:11434"


def test_another_bedrock_reaches_the_functions(state, monkeypatch):
    monkeypatch.setenv("LOCAL_BEDROCK_ENDPOINT_URL", "http://127.0.0.1:9999")
    found = MiniStack(load(env_file=None), state).environment()
    assert found["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] == "http://127.0.0.1:9999"
