"""The list of providers and models."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from functions.ai.domain import catalogue as module
from functions.ai.domain.catalogue import Catalogue, UnknownDefaultModelError
from functions.ai.domain.errors import (
    ModelRetiredError,
    UnknownModelError,
    UnknownProviderError,
)
from functions.ai.domain.inference import Usage
from functions.ai.settings import ApiSettings
from scripts import catalogue as command
from tests.fakes.ai_app import ENVIRONMENT

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DEFAULT = "amazon.nova-lite-v1:0"
# What callers may have stored: none of these may ever change.
IDS = {
    "amazon.nova-micro-v1:0": 1,
    "amazon.nova-lite-v1:0": 2,
    "amazon.nova-pro-v1:0": 3,
    "global.anthropic.claude-haiku-4-5-20251001-v1:0": 4,
    "global.anthropic.claude-sonnet-4-5-20250929-v1:0": 5,
    "openai.gpt-oss-20b-1:0": 6,
    "openai.gpt-oss-120b-1:0": 7,
}


@pytest.fixture
def catalogue():
    return Catalogue(DEFAULT, ["llama3.2", "llama3.2", "openai-compatible:qwen3:8b", DEFAULT])


def test_ids_and_names_are_unique(catalogue):
    assert len({model.number for model in catalogue.models}) == len(catalogue.models)
    names = {(model.provider.name, model.name) for model in catalogue.models}
    assert len(names) == len(catalogue.models)
    assert [model.is_default for model in catalogue.models].count(True) == 1
    assert max(model.number for model in catalogue.models) < 2**31


def test_ids_stay(catalogue):
    numbers = {model.name: model.number for model in catalogue.models}
    assert {name: numbers[name] for name in IDS} == IDS
    assert [(p.number, p.name) for p in catalogue.providers[:4]] == [
        (1, "bedrock"), (2, "openai"), (3, "anthropic"), (4, "gemini"),
    ]  # fmt: skip


def test_an_added_models_id_does_not_depend_on_the_others():
    alone = Catalogue(DEFAULT, ["b"]).find(None, "b").number
    assert Catalogue(DEFAULT, ["a", "b", "c"]).find(None, "b").number == alone
    assert Catalogue(DEFAULT, ["openai:b"]).find(None, "b").number != alone


def test_ids_of_added_models_that_collide_are_told_apart(monkeypatch):
    monkeypatch.setattr(module, "_ADDITIONAL_IDS", range(2**30, 2**30 + 2))
    numbers = {m.number for m in Catalogue(DEFAULT, ["a", "b"]).models if m.number >= 2**30}
    assert numbers == {2**30, 2**30 + 1}


@pytest.mark.parametrize(
    ("usage", "cost"),
    [(Usage(0, 0), "0"), (Usage(1, 0), "0.00000006"), (Usage(300_000, 100_000), "0.042")],
)
def test_costs_are_exact(catalogue, usage, cost):
    assert f"{catalogue.default.cost(usage, NOW).normalize():f}" == cost


def test_a_model_without_a_price_costs_nothing_known(catalogue):
    added = catalogue.find(None, "llama3.2")
    assert added.cost(Usage(10, 10), NOW) is None
    assert added.most(10, 10, NOW) is None
    assert added.per_thousand(NOW) is None


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        (None, None, ("bedrock", DEFAULT)),
        ("bedrock", None, ("bedrock", DEFAULT)),
        ("openai", None, ("openai", "gpt-5.4-mini")),
        ("anthropic", None, ("anthropic", "claude-sonnet-5-5")),
        ("gemini", None, ("gemini", "gemini-3.8-flash")),
        ("openai-compatible", None, ("openai-compatible", "qwen3:8b")),
        (None, "gpt-4.1", ("openai", "gpt-4.1")),
        ("openai", "gpt-4.1", ("openai", "gpt-4.1")),
        (None, "qwen3:8b", ("openai-compatible", "qwen3:8b")),
    ],
)
def test_what_is_not_named_is_the_default(catalogue, provider, model, found):
    model = catalogue.find(provider, model)
    assert (model.provider.name, model.name) == found


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        (None, None, ("openai", "gpt-4.1")),
        ("openai", None, ("openai", "gpt-4.1")),
        ("gemini", None, ("gemini", "gemini-3.8-flash")),
        (None, "gpt-5-mini", ("openai", "gpt-5-mini")),
        (None, "claude-haiku-5-5", ("anthropic", "claude-haiku-5-5")),
        ("bedrock", DEFAULT, ("bedrock", DEFAULT)),
    ],
)
def test_in_a_session_it_is_the_sessions(catalogue, provider, model, found):
    model = catalogue.for_session(provider, model, "openai", "gpt-4.1")
    assert (model.provider.name, model.name) == found


def test_of_several_providers_the_preferred_one_has_the_model():
    catalogue = Catalogue(DEFAULT, ["openai:x", "openai-compatible:x", "gemini:x"])
    assert catalogue.find(None, "x", preferred="gemini").provider.name == "gemini"
    assert catalogue.find(None, "x").provider.name == "openai"
    bedrock = Catalogue(DEFAULT, ["openai:x", "x"])
    assert bedrock.find(None, "x").provider.name == "bedrock"


def test_what_does_not_exist_lists_what_does(catalogue):
    with pytest.raises(UnknownProviderError, match="bedrock, openai, anthropic, gemini"):
        catalogue.find("acme", None)
    with pytest.raises(UnknownModelError, match=r"gpt-4\.1"):
        catalogue.find(None, "gpt-99")
    with pytest.raises(UnknownModelError) as wrong:
        catalogue.find("anthropic", "gpt-4.1")
    assert "gpt" not in wrong.value.detail
    with pytest.raises(UnknownModelError, match="ADDITIONAL_MODELS"):
        Catalogue(DEFAULT, []).find("openai-compatible", None)


def test_a_retired_model_is_listed_and_not_found(catalogue):
    catalogue.models = tuple(
        replace(model, retired=True) if model.name == "gpt-4.1" else model
        for model in catalogue.models
    )
    with pytest.raises(ModelRetiredError) as refused:
        catalogue.find(None, "gpt-4.1")
    assert "gpt-4.1," not in refused.value.detail
    assert "gpt-4.1" in {model.name for model in catalogue.of_provider(2)}


@pytest.mark.parametrize("name", ["llama3.2", "openai:gpt-4.1", "gemini:new", "bedrock:llama3.2"])
def test_a_default_may_be_any_model(name):
    catalogue = Catalogue(name, ["llama3.2", "gemini:new"])
    assert catalogue.default.name == name.rpartition(":")[2]
    assert catalogue.default.is_default
    assert catalogue.find(catalogue.default.provider.name, None) is catalogue.default


@pytest.mark.parametrize("name", ["gpt-99", "gpt-4.1", "openai:gpt-99"])
def test_a_default_that_does_not_exist_is_noticed_at_start(name):
    with pytest.raises(UnknownDefaultModelError):
        Catalogue(name, [])


def test_additional_models_are_separated_by_commas():
    settings = ApiSettings.from_environment({**ENVIRONMENT, "ADDITIONAL_MODELS": " a, b,,"})
    assert settings.additional_model_names == ["a", "b"]


def test_the_committed_list_is_made_of_the_reviewed_one(tmp_path, monkeypatch, capsys):
    assert command.main(["--check"]) == 0
    stale = tmp_path / "catalogue.json"
    stale.write_text("{}")
    monkeypatch.setattr(command, "GENERATED", stale)
    assert command.main(["--check"]) == 1
    assert "make catalogue" in capsys.readouterr().err
    assert command.main([]) == 0
    assert stale.read_text() == Path(module.__file__).with_name("catalogue.json").read_text()


def reviewed(**changed):
    """A reviewed list of one model."""
    entry = {
        "id": 207,
        "provider": "openai",
        "name": "gpt-4.1",
        "display_name": "x",
        "description": "y",
        "supports_functions": True,
        "supports_vision": False,
        **changed,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in entry.items()]
    head = 'reviewed_at = 2026-11-22T00:00:00Z\n[[providers]]\nid = 2\nname = "openai"\n'
    return head + 'display_name = "O"\nsource = "openai"\n[[models]]\n' + "\n".join(lines)


def test_a_withdrawn_model_stays_listed_without_prices():
    document = json.loads(command.generated(reviewed(name="gone", retired=True)))
    (model,) = document["models"]
    assert (model["id"], model["retired"], model["prices"]) == (207, True, [])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"name": "gpt-99"}, "gone"),
        ({"name": "whisper-1"}, "prices that are not read: audio_hours"),
        ({"name": "text-embedding-3-small"}, "no price of output_mtok"),
        ({"name": "gpt-image-2"}, "prices that are not read"),
    ],
)
def test_data_that_would_be_misread_are_refused(changed, reason):
    with pytest.raises(command.UnfitDataError, match=reason):
        command.generated(reviewed(**changed))
