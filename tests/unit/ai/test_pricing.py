"""What calls cost, beside genai-prices itself and beside what providers say of their calls."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path

import genai_prices
import pytest

from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.inference import Usage
from functions.ai.domain.pricing import history_from, usd

ROOT = Path(__file__).resolve().parents[3]
CATALOGUE = Catalogue("amazon.nova-lite-v1:0", [])
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
SOURCES = {"bedrock": "aws", "openai": "openai", "anthropic": "anthropic", "gemini": "google"}
RECORDED = json.loads((ROOT / "tests/fixtures/provider_usage.json").read_text())

PRICED = [model for model in CATALOGUE.models if not model.retired]
GRID = [
    Usage(*buckets)
    for buckets in product(
        (0, 1, 999, 200_000, 272_001),  # input
        (0, 7, 128_000),  # output
        (0, 1_024, 250_000),  # cache_read
        (0, 3, 20_000),  # cache_write
        (0, 640),  # reasoning
        (0, 5_000),  # cache_write_1h
    )
]


def oracle(model, usage, at):
    """genai-prices counts whole and part: what a part has no price for is charged as the whole."""
    counts = genai_prices.Usage(
        input_tokens=usage.prompt,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write + usage.cache_write_1h,
        cache_write_1h_tokens=usage.cache_write_1h,
        output_tokens=usage.output + usage.reasoning,
        output_reasoning_tokens=usage.reasoning,
    )
    return genai_prices.calc_price(
        counts,
        model.name,
        provider_id=SOURCES[model.provider.name],
        genai_request_timestamp=at,
    ).total_price


@pytest.mark.parametrize("model", PRICED, ids=lambda m: f"{m.provider.name}:{m.name}")
def test_every_model_costs_what_genai_prices_says(model):
    for usage in GRID:
        assert model.cost(usage, NOW) == oracle(model, usage, NOW), usage


@pytest.mark.parametrize("model", PRICED, ids=lambda m: f"{m.provider.name}:{m.name}")
def test_it_does_so_on_every_day_on_which_a_price_changes(model):
    usage = Usage(300_000, 1_000, 10, 20, 30)
    entry = next(e for e in raw_models() if e["id"] == model.number)
    starts = [date.fromisoformat(p["from"]) for p in entry["prices"] if "from" in p]
    midnights = [datetime.combine(day, datetime.min.time(), UTC) for day in starts]
    moments = [m + timedelta(microseconds=d) for m in midnights for d in (-1, 0)]
    for moment in (datetime(2020, 1, 1, tzinfo=UTC), *moments, datetime(2030, 1, 1, tzinfo=UTC)):
        assert model.cost(usage, moment) == oracle(model, usage, moment), moment


def test_the_grid_reaches_every_tier_and_history():
    entries = raw_models()
    bounds = {
        tier[0]
        for entry in entries
        for prices in entry["prices"]
        for rate in prices.values()
        if isinstance(rate, list)
        for tier in rate[1:]
    }
    lengths = {usage.prompt for usage in GRID}
    assert bounds
    for bound in bounds:
        assert any(length > bound for length in lengths)
        assert any(length <= bound for length in lengths)
    assert any(len(entry["prices"]) > 1 for entry in entries)


def raw_models():
    return json.loads((ROOT / "functions/ai/domain/catalogue.json").read_text())["models"]


@pytest.mark.parametrize("record", RECORDED, ids=lambda r: r["case"])
def test_recorded_answers_cost_what_they_cost(record):
    at = datetime.fromisoformat(record["at"])
    usage = Usage(**{"input": 0, "output": 0, **record["usage"]})
    cost = CATALOGUE.find(record["provider"], record["model"]).cost(usage, at)
    assert usd(cost) == record["cost"]
    # The same from the provider's own words, which genai-prices reads by itself.
    body = {"model": record["model"], **record["response"]}
    extracted = genai_prices.extract_usage(
        body, provider_id=record["source"], api_flavor=record["flavor"]
    )
    model = next(m for m in extracted.provider.models if m.id == record["model"])
    assert cost == extracted.calc_price(genai_request_timestamp=at, model=model).total_price


def test_recorded_answers_are_of_all_providers_and_buckets():
    assert {record["provider"] for record in RECORDED} == SOURCES.keys()
    assert {name for record in RECORDED for name in record["usage"]} == {
        "input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning",
    }  # fmt: skip


def test_a_tier_begins_above_its_bound_and_counts_cached_tokens():
    history = history_from([{"input": ["1", [100, "2"]], "output": "10", "cache_read": "0.1"}])
    assert history is not None
    prices = history.at(NOW)
    assert prices.cost(Usage(100, 0)) == Decimal("0.0001")
    assert prices.cost(Usage(101, 0)) == Decimal("0.000202")
    assert prices.cost(Usage(1, 0, cache_read=100)) == Decimal("0.000012")


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "0"), ("0.00000006", "0.00000006"), ("1E+2", "100"), ("12.500", "12.5")],
)
def test_dollars_are_plain_numbers(amount, text):
    assert usd(Decimal(amount)) == text


@pytest.mark.parametrize("model", PRICED, ids=lambda m: f"{m.provider.name}:{m.name}")
def test_no_usage_costs_more_than_the_most_that_its_length_allows(model):
    for usage in GRID:
        most = model.most(usage.prompt, usage.output + usage.reasoning, NOW)
        minutes = Usage(
            usage.input + usage.cache_write_1h,
            usage.output,
            usage.cache_read,
            usage.cache_write,
            usage.reasoning,
        )
        assert model.cost(minutes, NOW) <= most
