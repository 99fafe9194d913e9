"""Write the AI service's list of models with their prices, or say that it is stale.

python scripts/catalogue.py             write functions/ai/domain/catalogue.json
python scripts/catalogue.py --check     exit code 1 if it differs

The file is made of the reviewed `catalogue.toml` beside it and of the data of the locked
genai-prices. It is committed: a change of a price is a line of a diff that somebody approves, and
packaging needs no development dependency.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices.data import providers as priced_providers
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
)

DOMAIN = Path(__file__).resolve().parent.parent / "functions" / "ai" / "domain"
REVIEWED = DOMAIN / "catalogue.toml"
GENERATED = DOMAIN / "catalogue.json"

# Dollars per million tokens of a bucket of `functions.ai.domain.inference.Usage`.
BUCKETS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
}
# Of what the service does not ask for: searches by the provider, sounds, made pictures.
OTHERS = frozenset(
    {
        "web_searches_kcount",
        "storage_searches_kcount",
        "input_audio_mtok",
        "output_audio_mtok",
        "cache_audio_read_mtok",
    }
)
_CAPABILITIES = ("supports_functions", "supports_vision")


class UnfitDataError(Exception):
    """The data do not say what the reviewed list needs, or say it in a way that we do not read."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the result is the process's exit code."""
    parser = argparse.ArgumentParser(description="Write the list of models.")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if it differs")
    options = parser.parse_args(arguments)
    try:
        text = generated(REVIEWED.read_text(encoding="utf-8"))
    except UnfitDataError as error:
        print(error, file=sys.stderr)
        return 1
    if not options.check:
        GENERATED.write_text(text, encoding="utf-8")
        return 0
    if GENERATED.exists() and GENERATED.read_text(encoding="utf-8") == text:
        return 0
    print("functions/ai/domain/catalogue.json differs: run `make catalogue`", file=sys.stderr)
    return 1


def generated(reviewed: str) -> str:
    """The text of the list. Raises `UnfitDataError`."""
    document = tomllib.loads(reviewed)
    sources = {provider["name"]: provider.get("source") for provider in document["providers"]}
    models = [_model(entry, sources) for entry in document["models"]]
    head = {
        "price_list": f"genai-prices {version('genai-prices')}",
        "reviewed_at": document["reviewed_at"].isoformat(),
        "providers": [
            {name: entry[name] for name in ("id", "name", "display_name")}
            for entry in document["providers"]
        ],
    }
    # A model a line: what a diff shows is which models changed.
    lines = ",\n".join(f"    {json.dumps(model)}" for model in models)
    return f'{json.dumps(head, indent=2)[:-2]},\n  "models": [\n{lines}\n  ]\n}}\n'


def _model(entry: Mapping[str, Any], sources: Mapping[str, str | None]) -> dict[str, Any]:
    retired = entry.get("retired", False)
    info = None if retired else _priced(entry, sources[entry["provider"]])
    listed = {
        **{name: entry[name] for name in ("id", "provider", "name", "display_name", "description")},
        **{name: entry[name] for name in _CAPABILITIES},
        "context_window": entry.get("context_window") or (info.context_window if info else None),
        "max_output_tokens": entry.get("max_output_tokens"),
        "prices": _history(info) if info else [],
    }
    marks = {"is_default": entry.get("default", False), "retired": retired}
    return listed | {name: True for name, marked in marks.items() if marked}


def _priced(entry: Mapping[str, Any], source: str | None) -> ModelInfo:
    name = entry.get("source", entry["name"])
    found = [
        model
        for provider in priced_providers
        if provider.id == source
        for model in provider.models
        if model.id == name
    ]
    if not found or found[0].deprecated:
        what = "is withdrawn" if found else "is gone"
        raise UnfitDataError(f"{entry['provider']}: {name} {what}: mark it `retired = true`")
    return found[0]


def _history(info: ModelInfo) -> list[dict[str, Any]]:
    """Prices by the day from which they apply, oldest first."""
    if isinstance(info.prices, ModelPrice):
        return [_prices(info.id, info.prices)]
    dated: Sequence[ConditionalPrice] = info.prices
    history = [{"from": _start(info.id, one), **_prices(info.id, one.prices)} for one in dated]
    starts = [price["from"] for price in history]
    if starts != sorted(starts) or len(set(starts)) < len(starts):
        raise UnfitDataError(f"{info.id}: prices are not in the order of their days")
    # Of what came before the first day there is no other price.
    del history[0]["from"]
    return history


def _start(name: str, price: ConditionalPrice) -> str:
    match price.constraint:
        case None:
            return ""
        case StartDateConstraint(start_date=start):
            return start.isoformat()
        case _:
            raise UnfitDataError(f"{name}: its price depends on the time of day")


def _prices(name: str, price: ModelPrice) -> dict[str, Any]:
    given = {key: value for key, value in vars(price).items() if value is not None}
    if unread := given.keys() - BUCKETS.keys() - OTHERS:
        raise UnfitDataError(f"{name}: prices that are not read: {', '.join(sorted(unread))}")
    if missing := {"input_mtok", "output_mtok"} - given.keys():
        raise UnfitDataError(f"{name}: no price of {', '.join(sorted(missing))}")
    return {bucket: _rate(given[key]) for key, bucket in BUCKETS.items() if key in given}


def _rate(price: Decimal | TieredPrices) -> str | list[Any]:
    """One price, or the base and what applies when the prompt is longer than so many tokens."""
    if isinstance(price, Decimal):
        return f"{price:f}"
    return [f"{price.base:f}", *([tier.start, f"{tier.price:f}"] for tier in price.tiers)]


if __name__ == "__main__":
    sys.exit(main())
