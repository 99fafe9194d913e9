"""The buffered function's handler with events as API Gateway sends them."""

import asyncio
import base64
import importlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from servicekit.settings import SettingsError
from tests.fakes.ai_app import ENVIRONMENT
from tests.fakes.memory import Memory

EVENTS = Path(__file__).resolve().parents[2] / "events"
API = "functions.ai.entrypoints.api"


def event(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def environment(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    sys.modules.pop(API, None)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def handler(environment, monkeypatch):
    memory = Memory()
    monkeypatch.setattr("functions.ai.bootstrap.dynamodb_storage", lambda _name: memory.storage())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield importlib.import_module(API).handler
    asyncio.set_event_loop(None)
    loop.close()


def test_health(handler):
    answer = handler(event("health"), None)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == {"status": "healthy", "service": "ai-service"}
    assert answer["headers"]["x-request-id"] == "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"


@pytest.mark.parametrize("encoded", [False, True])
def test_a_session_is_made_once(handler, encoded):
    wanted = event("create_session")
    if encoded:
        wanted["body"] = base64.b64encode(wanted["body"].encode()).decode()
        wanted["isBase64Encoded"] = True
    answer = handler(wanted, None)
    assert answer["statusCode"] == 200, answer["body"]
    assert answer["isBase64Encoded"] is False
    session = json.loads(answer["body"])
    assert session["messages"][0]["content"] == "Grüße"
    assert session["user_id"] == 3
    assert answer["headers"]["x-request-id"] == "caller-1"
    assert json.loads(handler(wanted, None)["body"]) == session


def test_problems_are_text(handler):
    answer = handler(event("get_session"), None)
    assert answer["statusCode"] == 404
    assert answer["isBase64Encoded"] is False
    assert answer["headers"]["content-type"] == "application/problem+json"
    assert json.loads(answer["body"])["code"] == "session_not_found"


def test_a_context_header_of_the_clients_own_is_refused(handler):
    forged = event("get_session")
    for headers, value in ((forged["headers"], "{}"), (forged["multiValueHeaders"], ["{}"])):
        headers["X-Amzn-Request-Context"] = value
    assert handler(forged, None)["statusCode"] == 400


def test_missing_variables_are_named(environment, monkeypatch):
    monkeypatch.delenv("TABLE_NAME")
    monkeypatch.setenv("IDEMPOTENCY_WINDOW_SECONDS", "soon-secret")
    with pytest.raises(SettingsError) as failure:
        importlib.import_module(API)
    assert "TABLE_NAME" in str(failure.value)
    assert "IDEMPOTENCY_WINDOW_SECONDS" in str(failure.value)
    assert "secret" not in str(failure.value)
