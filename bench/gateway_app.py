"""The streaming function's app for the gateway's measure: its adapters call the upstream of
OPENAI_URL and ANTHROPIC_URL, with a key that no secret holds.

What turns leave is kept in memory; where AWS_ENDPOINT_URL names an emulator, in its table.
"""

import os
from collections.abc import Mapping

from functions.ai.adapters.anthropic import Anthropic
from functions.ai.adapters.chat_completions import OPENAI
from functions.ai.adapters.openai import OpenAI
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.providers import DEFAULT_MAX_TOKENS
from functions.ai.bootstrap import build_stream, dynamodb_storage
from functions.ai.domain.ports import ModelProvider
from functions.ai.routes.streamed import create_app
from functions.ai.settings import StreamSettings
from servicekit.logging import configure_logging
from tests.fakes.memory import Memory


class _Key:
    """`provider_keys.KeySource` of an upstream that takes every key."""

    async def get(self) -> str:
        return "bench"

    def forget(self) -> None:
        pass


def _providers(settings: StreamSettings) -> Mapping[str, ModelProvider]:
    patience = Patience(
        settings.model_first_byte_timeout_seconds, settings.model_idle_timeout_seconds
    )
    openai = OpenAI("openai", settings.openai_url, _Key(), patience, OPENAI)
    anthropic = Anthropic(
        patience,
        _Key(),
        base_url=settings.anthropic_url,
        default_max_tokens=DEFAULT_MAX_TOKENS,
    )
    openai.load()
    anthropic.load()
    return {"openai": openai, "anthropic": anthropic}


_settings = StreamSettings.from_environment()
configure_logging(_settings.powertools_service_name, _settings.powertools_log_level)
_storage = dynamodb_storage(_settings) if "AWS_ENDPOINT_URL" in os.environ else Memory().storage()
app = create_app(build_stream(_settings, _storage, _providers(_settings)))
