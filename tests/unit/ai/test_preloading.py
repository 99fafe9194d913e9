"""With SnapStart the SDKs are loaded at the start, into the snapshot; a failure stops nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from functions.ai.adapters.patience import Patience
from functions.ai.adapters.providers import Addresses, model_providers
from functions.ai.domain.errors import ProviderUnavailableError
from functions.ai.domain.inference import Prompt
from tests.fakes.ai_app import ENVIRONMENT
from tests.fakes.prompts import said

ROOT = Path(__file__).resolve().parents[3]
SDKS = {"openai", "anthropic", "httpx2", "botocore.client"}
ADDRESSES = Addresses(*(f"http://127.0.0.1:9/{name}" for name in ("o", "a", "g", "c")))
CLIENTS = {
    "openai": ["http://127.0.0.1:9/o", "http://127.0.0.1:9/g", "http://127.0.0.1:9/c"],
    "anthropic": ["http://127.0.0.1:9/a"],
    "bedrock": [Patience(1, 1)],
}
# Imports an entrypoint as Lambda does, where nothing can be reached and one package is broken.
SCRIPT = """
import importlib, json, socket, sys, threading

def refuse(*_):
    raise AssertionError("a connection")

class Broken:
    def find_spec(self, name, *_):
        if name == broken:
            raise ImportError(name)

module, broken = sys.argv[1:]
sys.meta_path.insert(0, Broken())
socket.socket.connect = socket.getaddrinfo = refuse
importlib.import_module(module)
print(json.dumps({"modules": list(sys.modules), "threads": threading.active_count()}))
"""


def start(entrypoint: str, broken: str = "", preload: str = "true") -> tuple[dict, list[dict]]:
    """What a function is like after its start, and what it logged."""
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"functions.ai.entrypoints.{entrypoint}", broken],
        env={
            **ENVIRONMENT,
            "PRELOAD_SDKS": preload,
            "HIGH_QUEUE_URL": "http://127.0.0.1:9/high",
            "NORMAL_QUEUE_URL": "http://127.0.0.1:9/normal",
            "MAX_RECEIVES": "5",
            "MESSAGING_URL_PARAMETER": "/santaclaude/test/messaging/url",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'layers/common/python'}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    *logged, last = result.stdout.splitlines()
    logged += result.stderr.splitlines()
    return json.loads(last), [json.loads(line) for line in logged]


@pytest.mark.parametrize("entrypoint", ["stream", "worker"])
def test_a_snapshot_holds_every_sdk_and_no_connection(entrypoint):
    found, logged = start(entrypoint)
    assert set(found["modules"]) >= SDKS
    # Connections and threads would not be restored.
    assert found["threads"] == 1
    assert logged == []


@pytest.mark.parametrize("entrypoint", ["stream", "worker"])
def test_without_snapshots_nothing_is_loaded(entrypoint):
    found, _ = start(entrypoint, preload="false")
    assert not SDKS & set(found["modules"])


@pytest.mark.parametrize("broken", ["openai", "anthropic", "botocore"])
def test_a_function_starts_without_what_cannot_be_loaded(broken):
    found, logged = start("stream", broken)
    whole = {name for name in ("openai", "anthropic", "botocore") if name != broken}
    assert set(found["modules"]) >= whole
    missed = {"botocore": {"bedrock"}, "openai": {"openai", "gemini"}, "anthropic": {"anthropic"}}
    assert {line["provider"] for line in logged} == missed[broken]
    assert {line["message"] for line in logged} == {"SDK not loaded"}


class Clients:
    """Counts clients instead of making them."""

    def __init__(self, monkeypatch) -> None:
        self.made = {name: [] for name in CLIENTS}
        self.broken = False
        for name, made in self.made.items():
            monkeypatch.setattr(
                f"functions.ai.adapters.{name}._make_client",
                lambda first, *_, made=made: self.make(made, first),
            )

    def make(self, made, first):
        if self.broken:
            raise ImportError
        made.append(first)
        return object()


def test_every_provider_has_its_client(monkeypatch):
    clients = Clients(monkeypatch)
    providers = model_providers("local", ADDRESSES, Patience(1, 1), preload=True)
    assert clients.made == CLIENTS
    for provider in providers.values():
        provider.load()
    assert clients.made == CLIENTS


def test_the_first_call_tries_again_what_failed_at_the_start(monkeypatch):
    clients = Clients(monkeypatch)
    clients.broken = True
    provider = model_providers("local", ADDRESSES, Patience(1, 1), preload=True)[
        "openai-compatible"
    ]
    clients.broken = False

    async def opened(*_):
        raise ProviderUnavailableError

    monkeypatch.setattr("functions.ai.adapters.openai._open", opened)

    async def ask():
        with pytest.raises(ProviderUnavailableError):
            await anext(provider.stream(Prompt("m", (), (said("user", "Hi"),))))

    anyio.run(ask)
    assert clients.made["openai"] == ["http://127.0.0.1:9/c"]
