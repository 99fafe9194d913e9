"""Asynchronous tests run on asyncio; nobody waits before a model is asked again."""

import pytest

from functions.ai.domain.retries import retry_pause


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    def pause(error, attempt, left_seconds, random):
        named = "Retry-After" in error.headers
        return None if named or retry_pause(error, attempt, left_seconds, random) is None else 0.0

    monkeypatch.setattr("functions.ai.domain.asking.retry_pause", pause)
