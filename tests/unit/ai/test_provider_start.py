"""Adapters of model providers load no SDK until the first answer is asked for."""

import json
import subprocess
import sys

import anyio
import pytest

from functions.ai.adapters.chat_completions import COMPATIBLE
from functions.ai.adapters.openai import OpenAI
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.provider_keys import NoKey
from functions.ai.domain.errors import ProviderKeyMissingError
from functions.ai.domain.inference import Prompt
from tests.fakes.prompts import said

_SCRIPT = """
import json, sys
from functions.ai.adapters.chat_completions import COMPATIBLE
from functions.ai.adapters.openai import OpenAI
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.provider_keys import ProviderKeys

key = ProviderKeys("local").of("openai")
provider = OpenAI("openai", "http://127.0.0.1:9/v1", key, Patience(1, 1), COMPATIBLE)
before = list(sys.modules)
provider.load()
print(json.dumps([before, list(sys.modules)]))
"""
_SDKS = {"openai", "httpx2", "httpx", "botocore"}


def test_the_sdk_is_loaded_on_demand():
    result = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(set, json.loads(result.stdout))
    assert not before & _SDKS
    assert {"openai", "httpx2"} <= after
    # The most of its types are of APIs that are not called.
    assert "openai.resources.chat.completions.completions" not in after


async def _missing():
    raise ProviderKeyMissingError


def test_a_missing_key_loads_no_sdk(monkeypatch):
    monkeypatch.setattr(
        "functions.ai.adapters.openai._make_client", lambda *_: pytest.fail("loaded")
    )
    keys = NoKey()
    monkeypatch.setattr(keys, "get", _missing)
    provider = OpenAI("x", "http://127.0.0.1:9/v1", keys, Patience(1, 1), COMPATIBLE)

    async def ask():
        with pytest.raises(ProviderKeyMissingError):
            await anext(provider.stream(Prompt("m", (), (said("user", "Hi"),))))

    anyio.run(ask)


def test_loading_twice_makes_one_client(monkeypatch):
    made = []
    monkeypatch.setattr(
        "functions.ai.adapters.openai._make_client", lambda *_: made.append(1) or object()
    )
    provider = OpenAI("x", "http://127.0.0.1:9/v1", NoKey(), Patience(1, 1), COMPATIBLE)
    provider.load()
    provider.load()
    assert made == [1]


@pytest.mark.parametrize("loaded", [False, True])
def test_it_can_be_closed_whether_or_not_it_was_used(loaded):
    provider = OpenAI("x", "http://127.0.0.1:9/v1", NoKey(), Patience(1, 1), COMPATIBLE)
    if loaded:
        provider.load()
    anyio.run(provider.aclose)
