"""The list of models and what an answer costs."""

import pytest

from functions.ai.domain.catalogue import Catalogue, UnknownDefaultModelError
from functions.ai.domain.inference import Usage
from functions.ai.settings import ApiSettings
from tests.fakes.ai_app import ENVIRONMENT


@pytest.fixture
def catalogue():
    return Catalogue("amazon.nova-lite-v1:0", ["llama3.2", "llama3.2", "amazon.nova-pro-v1:0"])


def test_ids_and_names_are_unique(catalogue):
    assert len({model.number for model in catalogue.models}) == len(catalogue.models)
    assert len({model.name for model in catalogue.models}) == len(catalogue.models)
    assert [model.is_default for model in catalogue.models].count(True) == 1


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(0, 0), "0"),
        (Usage(1, 0), "0.00000006"),
        (Usage(1000, 1000), "0.0003"),
        (Usage(300_000, 100_000), "0.042"),
    ],
)
def test_costs_are_exact_plain_numbers(catalogue, usage, cost):
    assert catalogue.default.cost(usage) == cost


def test_a_model_without_a_price_costs_nothing_known(catalogue):
    assert catalogue.find(None, "llama3.2").cost(Usage(10, 10)) is None


def test_an_added_model_can_be_the_default():
    assert Catalogue("llama3.2", ["llama3.2"]).default.name == "llama3.2"


def test_a_default_that_does_not_exist_is_noticed_at_start():
    with pytest.raises(UnknownDefaultModelError):
        Catalogue("gpt-99", [])


def test_additional_models_are_separated_by_commas():
    settings = ApiSettings.from_environment({**ENVIRONMENT, "ADDITIONAL_MODELS": " a, b,,"})
    assert settings.additional_model_names == ["a", "b"]
