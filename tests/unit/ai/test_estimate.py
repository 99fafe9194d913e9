"""What is reserved before a call."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.estimate import (
    IMAGE_TOKENS,
    OUTPUT_TOKENS,
    estimate,
    output_limit,
    prompt_tokens,
)
from functions.ai.domain.inference import (
    Image,
    Opaque,
    Prompt,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    Utterance,
)

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
CATALOGUE = Catalogue("amazon.nova-lite-v1:0", ["llama3.2"])
LONG = "word " * 1_000


def prompt(*parts, **fields):
    return Prompt(
        **{"model": "m", "system": (), "utterances": (Utterance("user", parts),), **fields}
    )


def test_nothing_of_a_prompt_is_free():
    empty = prompt_tokens(prompt())
    for part in (
        Text(LONG),
        ToolCall("1", "look", {"q": LONG}),
        ToolResult("1", LONG),
        Opaque("anthropic", {"signature": LONG}),
    ):
        assert prompt_tokens(prompt(part)) - empty >= 2_500
    assert prompt_tokens(prompt(Image("image/png", b"x"))) - empty >= IMAGE_TOKENS
    assert prompt_tokens(prompt(system=(LONG,))) - empty >= 2_500
    tool = Tool("look", LONG, {"type": "object", "description": LONG})
    assert prompt_tokens(prompt(tools=(tool,))) - empty >= 5_000


def test_other_scripts_count_by_their_bytes():
    assert prompt_tokens(prompt(Text("字" * 100))) >= 150


@pytest.mark.parametrize(
    ("name", "asked", "limit"),
    [
        ("gpt-4.1", None, OUTPUT_TOKENS),
        ("gpt-4.1", 50, 50),
        ("gpt-4.1", 1_000_000, 32_768),
        ("amazon.nova-lite-v1:0", None, 10_000),
        ("llama3.2", 1_000_000, 1_000_000),
    ],
)
def test_an_answer_is_bounded_by_what_was_asked_and_what_the_model_can(name, asked, limit):
    model = CATALOGUE.find(None, name)
    assert output_limit(model, prompt(max_output_tokens=asked)) == limit


def test_an_estimate_is_the_cost_of_a_call_that_uses_all_of_it():
    model = CATALOGUE.find(None, "gpt-6.1-terra")
    asked = prompt(Text(LONG), max_output_tokens=100)
    length = prompt_tokens(asked)
    most = estimate(model, asked, NOW)
    assert most == model.cost(Usage(0, 0, cache_write=length, reasoning=100), NOW)
    assert most == (length * Decimal("1.25") + 100 * 5) / 1_000_000
    assert estimate(model, replace(asked, max_output_tokens=200), NOW) > most


def test_a_model_without_a_price_has_no_estimate():
    assert estimate(CATALOGUE.find(None, "llama3.2"), prompt(), NOW) is None
