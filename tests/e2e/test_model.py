"""A model of this machine answers behind the emulated Bedrock when it is asked for."""

import pytest

from tests.fakes.ollama import MODEL, ollama


@pytest.fixture
def with_model(cloud):
    with ollama() as url:
        # Without the scripted Bedrock in between: this is MiniStack's own way to a model.
        asked = {"LOCAL_OLLAMA_URL": url, "LOCAL_BEDROCK_ENDPOINT_URL": ""}
        result = cloud.command("up", "--model", MODEL, **asked)
        assert result.returncode == 0, result.stderr
        yield result.stdout
    cloud.up()


def test_a_person_chats_with_a_model_of_this_machine(with_model, ai):
    assert f"Ollama's {MODEL}" in with_model
    models = ai.get("/api/v1/models").json()
    assert [model["name"] for model in models if model["is_default"]] == [MODEL]
    answer = ai.post(
        "/api/v1/chat",
        json={"message": "What is a board?", "project_id": 1, "user_id": 7, "stream": False},
    ).json()
    assert answer["message"]["content"] == f"{MODEL} heard: What is a board?"
    assert answer["message"]["tokens_used"] == 14


def test_a_model_that_is_not_there_is_named(cloud):
    with ollama() as url:
        result = cloud.command("up", "--model", "no-such-model", LOCAL_OLLAMA_URL=url)
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert "no-such-model" in line
    assert MODEL in line
