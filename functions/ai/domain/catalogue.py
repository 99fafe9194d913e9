"""Which providers and models there are, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from functions.ai.domain.errors import UnknownModelError, UnknownProviderError
from functions.ai.domain.inference import Usage

_DATA = Path(__file__).with_name("catalogue.json")
_FIRST_ADDITIONAL_ID = 1001
_PRICED_TOKENS = 1000


class UnknownDefaultModelError(Exception):
    """DEFAULT_MODEL names a model that neither the data file nor ADDITIONAL_MODELS has."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider of models."""

    number: int
    name: str
    display_name: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Model:
    """A model; costs are US dollars per 1000 tokens, None where no price is known."""

    number: int
    provider: Provider
    name: str
    display_name: str
    description: str | None
    supports_functions: bool
    supports_vision: bool
    context_window: int | None
    input_cost: Decimal | None
    output_cost: Decimal | None
    is_default: bool

    @property
    def facts(self) -> Mapping[str, str]:
        """The names by which records and logs tell of it."""
        return {"provider": self.provider.name, "model": self.name}

    def cost(self, usage: Usage) -> str | None:
        """US dollars as a plain decimal number, exact; None where no price is known."""
        if self.input_cost is None or self.output_cost is None:
            return None
        total = (usage.input * self.input_cost + usage.output * self.output_cost) / _PRICED_TOKENS
        return f"{total.normalize():f}"


class Catalogue:
    """The reviewed list of `catalogue.json`, and models that a deployment adds without a price."""

    def __init__(self, default_model: str, additional_models: Sequence[str]) -> None:
        data = json.loads(_DATA.read_text(encoding="utf-8"))
        since = datetime.fromisoformat(data["reviewed_at"])
        self.provider = Provider(1, "bedrock", "Amazon Bedrock", since)
        listed = [_listed(entry, self.provider, default_model) for entry in data["models"]]
        names = {model.name for model in listed}
        added = [name for name in dict.fromkeys(additional_models) if name not in names]
        self.models = (
            *listed,
            *(
                _added(_FIRST_ADDITIONAL_ID + index, name, self.provider, default_model)
                for index, name in enumerate(added)
            ),
        )
        self._by_name = {model.name: model for model in self.models}
        if default_model not in self._by_name:
            raise UnknownDefaultModelError(default_model)
        self.default = self._by_name[default_model]

    def of_provider(self, provider_number: int | None) -> list[Model]:
        """All models, or one provider's."""
        return [model for model in self.models if provider_number in {None, model.provider.number}]

    def find(self, provider: str | None, model: str | None) -> Model:
        """The model of these names; what is not named is the default.

        Raises `UnknownProviderError` and `UnknownModelError`, which list what there is.
        """
        if provider not in {None, self.provider.name}:
            raise UnknownProviderError(f"The providers are: {self.provider.name}.")
        if model is None:
            return self.default
        found = self._by_name.get(model)
        if found is None:
            raise UnknownModelError(f"The models are: {', '.join(self._by_name)}.")
        return found


def _listed(entry: Mapping[str, Any], provider: Provider, default_model: str) -> Model:
    return Model(
        number=entry["id"],
        provider=provider,
        name=entry["name"],
        display_name=entry["display_name"],
        description=entry["description"],
        supports_functions=entry["supports_functions"],
        supports_vision=entry["supports_vision"],
        context_window=entry["context_window"],
        input_cost=Decimal(entry["input_cost"]),
        output_cost=Decimal(entry["output_cost"]),
        is_default=entry["name"] == default_model,
    )


def _added(number: int, name: str, provider: Provider, default_model: str) -> Model:
    return Model(
        number=number,
        provider=provider,
        name=name,
        display_name=name,
        description=None,
        supports_functions=False,
        supports_vision=False,
        context_window=None,
        input_cost=None,
        output_cost=None,
        is_default=name == default_model,
    )
