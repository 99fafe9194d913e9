"""The providers of a deployment, each by its name in the catalogue."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from functions.ai.adapters.anthropic import Anthropic
from functions.ai.adapters.bedrock import Bedrock
from functions.ai.adapters.chat_completions import COMPATIBLE, GEMINI, OPENAI
from functions.ai.adapters.key_presence import KeyPresence
from functions.ai.adapters.openai import OpenAI
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.provider_keys import NoKey, ProviderKeys
from functions.ai.domain.ports import ModelProvider

BEDROCK = "bedrock"
COMPATIBLE_SERVER = "openai-compatible"
KEYED = ("openai", "anthropic", "gemini")

DEFAULT_MAX_TOKENS = 8_192
"""Of an answer of Anthropic's, whose API demands a bound, where the caller set none: every model of
the catalogue writes as many, and the context keeps as much room."""

_logger = logging.getLogger(__name__)


class _Loadable(ModelProvider, Protocol):
    def load(self) -> None:
        """Imports the SDK and makes its client, without a connection."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the providers' APIs answer, from settings alone; `compatible` is empty without one."""

    openai: str
    anthropic: str
    gemini: str
    compatible: str


def model_providers(
    environment: str, addresses: Addresses, patience: Patience, *, preload: bool
) -> Mapping[str, ModelProvider]:
    """All that the deployment can call. SDKs are loaded by the first call, or here for a snapshot
    that each restore begins with.
    """
    keys = ProviderKeys(environment)
    providers: dict[str, _Loadable] = {
        BEDROCK: Bedrock(patience),
        "openai": OpenAI("openai", addresses.openai, keys.of("openai"), patience, OPENAI),
        "anthropic": Anthropic(
            patience,
            keys.of("anthropic"),
            base_url=addresses.anthropic,
            default_max_tokens=DEFAULT_MAX_TOKENS,
        ),
        "gemini": OpenAI("gemini", addresses.gemini, keys.of("gemini"), patience, GEMINI),
    }
    if addresses.compatible:
        providers[COMPATIBLE_SERVER] = OpenAI(
            COMPATIBLE_SERVER, addresses.compatible, NoKey(), patience, COMPATIBLE
        )
    if preload:
        for name, provider in providers.items():
            _load(name, provider)
    return providers


def _load(name: str, provider: _Loadable) -> None:
    """What cannot be loaded now is tried again by the first call: the others go on without it."""
    try:
        provider.load()
    except Exception:
        _logger.warning("SDK not loaded", extra={"provider": name}, exc_info=True)


def provider_states(environment: str, *, compatible: bool) -> KeyPresence:
    """Which of them can be called as they are."""
    keyless = [BEDROCK, *([COMPATIBLE_SERVER] if compatible else [])]
    return KeyPresence(environment, KEYED, keyless)


def provider_names(*, compatible: bool) -> frozenset[str]:
    """Those of `model_providers`, without making them."""
    return frozenset({BEDROCK, *KEYED, *([COMPATIBLE_SERVER] if compatible else [])})
