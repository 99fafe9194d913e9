"""Settings of whoever runs the tests must not change what they find."""

import os

import pytest


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in os.environ:
        if name.startswith("LOCAL_"):
            monkeypatch.delenv(name)
