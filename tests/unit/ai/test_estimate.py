"""What is reserved before a call."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

from functions.ai.domain import tokens
from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.estimate import (
    OUTPUT_TOKENS,
    estimate,
    estimated_usage,
    most_tokens,
    output_limit,
)
from functions.ai.domain.inference import (
    Image,
    ImageRef,
    Opaque,
    Prompt,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    Utterance,
)
from functions.ai.domain.tokens import IMAGE_TOKENS, text_tokens
from tests.fakes.prompts import COUNTED

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
CATALOGUE = Catalogue("amazon.nova-lite-v1:0", ["llama3.2"])
LONG = "word " * 1_000


def prompt(*parts, **fields):
    return Prompt(
        **{"model": "m", "system": (), "utterances": (Utterance("user", parts),), **fields}
    )


def test_nothing_of_a_prompt_is_free():
    empty = most_tokens(prompt())
    for part in (
        Text(LONG),
        ToolCall("1", "look", {"q": LONG}),
        ToolResult("1", LONG),
        Opaque("anthropic", {"signature": LONG}),
    ):
        assert most_tokens(prompt(part)) - empty >= 2_500
    assert most_tokens(prompt(Image("image/png", b"x"))) - empty >= IMAGE_TOKENS
    assert most_tokens(prompt(system=(LONG,))) - empty >= 2_500
    tool = Tool("look", LONG, {"type": "object", "description": LONG})
    assert most_tokens(prompt(tools=(tool,))) - empty >= 5_000


@pytest.mark.parametrize(("text", "least"), COUNTED)
def test_a_text_is_held_for_the_worst_tokenizer_and_more(text, least):
    many = 100
    taken = most_tokens(prompt(Text(text * many))) - most_tokens(prompt(Text("")))
    assert taken >= least * many
    # Where the samples' worst case holds: three quarters of what a tokenizer counts.
    assert taken * Fraction(3, 4) >= text_tokens(text * many)
    # However it is written, no token has more than two bytes.
    assert taken >= len((text * many).encode("utf-8", "surrogatepass")) // 2


def test_images_are_held_as_they_count():
    empty = most_tokens(prompt(Text("")))
    shown = prompt(Text(""), ImageRef("image/png", "k", 1), Image("image/png", b"x"))
    assert 2 * IMAGE_TOKENS <= most_tokens(shown) - empty <= 2 * IMAGE_TOKENS + 50


def test_a_usage_that_nobody_told_is_within_what_was_held():
    asked = prompt(Text(LONG), Image("image/png", b"x"))
    usage = estimated_usage(asked, said=10)
    assert usage == Usage(tokens.prompt_tokens(asked), 3)
    assert usage.input < most_tokens(asked)


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
    length = most_tokens(asked)
    most = estimate(model, asked, NOW)
    assert most == model.cost(Usage(0, 0, cache_write=length, reasoning=100), NOW)
    assert most == (length * Decimal("1.25") + 100 * 5) / 1_000_000
    assert estimate(model, replace(asked, max_output_tokens=200), NOW) > most


def test_a_model_without_a_price_has_no_estimate():
    assert estimate(CATALOGUE.find(None, "llama3.2"), prompt(), NOW) is None
