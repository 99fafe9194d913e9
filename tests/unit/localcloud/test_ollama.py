"""Who answers behind Bedrock, in one line that names the way to a model."""

import io
import json
import urllib.request

import pytest

from localcloud import ollama
from localcloud.errors import LocalCloudError
from localcloud.settings import load


@pytest.fixture
def holds(monkeypatch):
    def make(answer):
        def open_(_opener, _address, timeout):
            assert timeout
            if isinstance(answer, Exception):
                raise answer
            return io.BytesIO(answer)

        monkeypatch.setattr(urllib.request.OpenerDirector, "open", open_)

    return make


def models(*names):
    listed = [{"name": name, "details": {"family": "llama"}} for name in names]
    embedding = {"name": "all-minilm:latest", "details": {"family": "bert"}}
    return json.dumps({"models": [embedding, *listed]}).encode()


def test_a_model_that_is_here_is_offered(holds):
    holds(models("qwen3:4b", "llama3.2:latest"))
    line = ollama.describe(load(env_file=None), "ministack")
    assert "fixed text" in line
    assert "Ollama holds llama3.2:latest, qwen3:4b: `make up MODEL=llama3.2:latest`" in line


def test_an_ollama_without_a_model_that_chats_is_told_how_to_get_one(holds):
    holds(models())
    assert "`ollama pull llama3.2`" in ollama.describe(load(env_file=None), "ministack")


@pytest.mark.parametrize("answer", [ConnectionRefusedError(), b"<html>", b"[]", b'{"models": [1]}'])
def test_no_ollama_is_no_failure(holds, answer):
    holds(answer)
    line = ollama.describe(load(env_file=None), "ministack")
    assert "fixed text" in line
    assert "https://ollama.com" in line


def test_who_answers_is_named(monkeypatch):
    settings = load(env_file=None, model="llama3.2")
    assert "Ollama's llama3.2" in ollama.describe(settings, "ministack")
    assert "localstack's Bedrock" in ollama.describe(settings, "localstack")
    monkeypatch.setenv("LOCAL_BEDROCK_ENDPOINT_URL", "http://127.0.0.1:9999")
    assert "http://127.0.0.1:9999" in ollama.describe(load(env_file=None), "ministack")


def test_a_model_that_was_asked_for_must_be_there(holds):
    holds(models("llama3.2:latest"))
    ollama.require(load(env_file=None))
    ollama.require(load(env_file=None, model="llama3.2"))
    with pytest.raises(LocalCloudError, match=r"holds no model qwen3.*ollama pull qwen3"):
        ollama.require(load(env_file=None, model="qwen3"))
    holds(ConnectionRefusedError())
    with pytest.raises(LocalCloudError, match="No Ollama answers"):
        ollama.require(load(env_file=None, model="llama3.2"))
