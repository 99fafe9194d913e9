"""Which providers and models there are, what they can do, and what they cost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from functions.ai.domain.errors import (
    ModelRetiredError,
    UnknownModelError,
    UnknownProviderError,
)
from functions.ai.domain.inference import Usage
from functions.ai.domain.pricing import PriceHistory, history_from, per_thousand

_DATA = Path(__file__).with_name("catalogue.json")
_DEFAULT_PROVIDER = "bedrock"
_ADDITIONAL_IDS = range(2**30, 2**31)


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
    """A model; `prices` is None where no price is known, and `retired` ones are not called."""

    number: int
    provider: Provider
    name: str
    display_name: str
    description: str | None
    supports_functions: bool
    supports_vision: bool
    context_window: int | None
    max_output_tokens: int | None
    prices: PriceHistory | None
    is_default: bool
    retired: bool = False
    # What one that a deployment added can do, nobody said.
    reviewed: bool = True

    @property
    def may_see(self) -> bool:
        """Whether it reads images, as far as is known."""
        return self.supports_vision or not self.reviewed

    @property
    def facts(self) -> Mapping[str, str]:
        """The names by which records and logs tell of it."""
        return {"provider": self.provider.name, "model": self.name}

    def cost(self, usage: Usage, at: datetime) -> Decimal | None:
        """US dollars of a call at that time, exact; None where no price is known."""
        return self.prices.at(at).cost(usage) if self.prices else None

    def most(self, prompt_tokens: int, output_tokens: int, at: datetime) -> Decimal | None:
        """US dollars that such a call costs at most; None where no price is known."""
        return self.prices.at(at).most(prompt_tokens, output_tokens) if self.prices else None

    def per_thousand(self, at: datetime) -> tuple[Decimal, Decimal] | None:
        """US dollars per 1000 tokens of input and of output, of short prompts."""
        if self.prices is None:
            return None
        prices = self.prices.at(at)
        return per_thousand(prices.input), per_thousand(prices.output)


class Catalogue:
    """The reviewed list of `catalogue.json`, and models that a deployment adds without a price.

    A name may be spelled `provider:name`; one without a provider that is known is Bedrock's.
    """

    def __init__(self, default_model: str, additional_models: Sequence[str]) -> None:
        data = json.loads(_DATA.read_text(encoding="utf-8"))
        since = datetime.fromisoformat(data["reviewed_at"])
        self.price_list: str = data["price_list"]
        self._providers = {
            entry["name"]: Provider(entry["id"], entry["name"], entry["display_name"], since)
            for entry in data["providers"]
        }
        self.providers = tuple(self._providers.values())
        default = self._spelled(default_model)
        listed = [_listed(e, self._providers[e["provider"]], default) for e in data["models"]]
        known = {(model.provider.name, model.name) for model in listed}
        additional = dict.fromkeys(self._spelled(name) for name in additional_models)
        added = [spelled for spelled in additional if spelled not in known]
        self.models = (*listed, *self._added(added, default))
        by_name = {(model.provider.name, model.name): model for model in self.models}
        if default not in by_name or by_name[default].retired:
            raise UnknownDefaultModelError(default_model)
        self.default = by_name[default]
        # Each provider has a default: DEFAULT_MODEL, the reviewed one, or the first that was added.
        chosen = {e["provider"]: e["name"] for e in data["models"] if e.get("is_default")}
        chosen = dict(reversed(list(additional))) | chosen | dict([default])
        self._defaults = {provider: by_name[provider, name] for provider, name in chosen.items()}

    def of_provider(self, provider_number: int | None) -> list[Model]:
        """All models, or one provider's."""
        return [model for model in self.models if provider_number in {None, model.provider.number}]

    def find(
        self, provider: str | None, model: str | None, *, preferred: str | None = None
    ) -> Model:
        """The model of these names; what is not named is the default.

        A model alone is that of its only provider; of several providers, `preferred` comes first,
        then the default one. Raises `UnknownProviderError` and `UnknownModelError`, which list
        what there is, and `ModelRetiredError`.
        """
        if provider is not None and provider not in self._providers:
            raise UnknownProviderError(f"The providers are: {', '.join(self._providers)}.")
        if model is None:
            return self._default_of(provider)
        candidates = [
            found
            for found in self.models
            if found.name == model and provider in {None, found.provider.name}
        ]
        if not candidates:
            raise UnknownModelError(f"The models are: {self._names(provider)}.")
        usable = [found for found in candidates if not found.retired]
        if not usable:
            raise ModelRetiredError(f"Instead there are: {self._names(provider)}.")
        order = (preferred, self.default.provider.name)
        by_provider = {found.provider.name: found for found in usable}
        return next((by_provider[name] for name in order if name in by_provider), usable[0])

    def for_session(
        self, provider: str | None, model: str | None, session_provider: str, session_model: str
    ) -> Model:
        """The model of a message in a session: what is not named is the session's.

        Of another provider than the session's, that is its default model. Raises as `find` does.
        """
        if model is None and provider in {None, session_provider}:
            return self.find(session_provider, session_model)
        return self.find(provider, model, preferred=session_provider)

    def _spelled(self, name: str) -> tuple[str, str]:
        provider, colon, rest = name.partition(":")
        # Names of models have colons too.
        return (
            (provider, rest) if colon and provider in self._providers else (_DEFAULT_PROVIDER, name)
        )

    def _default_of(self, provider: str | None) -> Model:
        if provider is None:
            return self.default
        if provider not in self._defaults:
            raise UnknownModelError(f"{provider} has no models: ADDITIONAL_MODELS adds them.")
        return self._defaults[provider]

    def _names(self, provider: str | None) -> str:
        shown = [m for m in self.models if provider in {None, m.provider.name} and not m.retired]
        return ", ".join(dict.fromkeys(model.name for model in shown)) or "none"

    def _added(self, spelled: Sequence[tuple[str, str]], default: tuple[str, str]) -> list[Model]:
        numbers: set[int] = set()
        models = []
        for provider, name in spelled:
            number = _additional_id(f"{provider}:{name}", numbers)
            numbers.add(number)
            models.append(_without_price(number, self._providers[provider], name, default))
        return models


def _additional_id(spelled: str, taken: set[int]) -> int:
    """An id made of the name: whatever else a deployment adds or removes, it stays."""
    digest = hashlib.sha256(spelled.encode()).digest()
    place = int.from_bytes(digest[:4]) % len(_ADDITIONAL_IDS)
    while _ADDITIONAL_IDS[place] in taken:
        place = (place + 1) % len(_ADDITIONAL_IDS)
    return _ADDITIONAL_IDS[place]


def _listed(entry: Mapping[str, Any], provider: Provider, default: tuple[str, str]) -> Model:
    return Model(
        number=entry["id"],
        provider=provider,
        name=entry["name"],
        display_name=entry["display_name"],
        description=entry["description"],
        supports_functions=entry["supports_functions"],
        supports_vision=entry["supports_vision"],
        context_window=entry["context_window"],
        max_output_tokens=entry["max_output_tokens"],
        prices=history_from(entry["prices"]),
        is_default=default == (provider.name, entry["name"]),
        retired=entry.get("retired", False),
    )


def _without_price(number: int, provider: Provider, name: str, default: tuple[str, str]) -> Model:
    return Model(
        number=number,
        provider=provider,
        name=name,
        display_name=name,
        description=None,
        supports_functions=False,
        supports_vision=False,
        context_window=None,
        max_output_tokens=None,
        prices=None,
        is_default=default == (provider.name, name),
        reviewed=False,
    )
