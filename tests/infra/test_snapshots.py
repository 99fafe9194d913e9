"""SnapStart is a setting: off by default, and on for every function that can have it."""

import json

import pytest

from infra import settings
from tests.conftest import synthesize

# Lambda takes no snapshot of a function with more disk than that.
DISK_MB = 512


@pytest.fixture(scope="module")
def with_snapshots():
    return synthesize("prod", snap_start="true")


def functions(templates) -> dict[str, dict]:
    found = templates.resources("AWS::Lambda::Function").values()
    return {f["Properties"]["FunctionName"].split("-", 2)[2]: f["Properties"] for f in found}


def preloads(function: dict) -> str | None:
    return function["Environment"]["Variables"].get("PRELOAD_SDKS")


def test_every_function_that_can_begins_from_a_snapshot(with_snapshots):
    found = functions(with_snapshots)
    small = {name for name, f in found.items() if f["EphemeralStorage"]["Size"] <= DISK_MB}
    assert set(found) - small == {"audit-cold", "audit-exporter", "browser-worker"}
    for name, function in found.items():
        wanted = {"ApplyOn": "PublishedVersions"} if name in small else None
        assert function.get("SnapStart") == wanted, name


def test_what_calls_models_loads_the_sdks_into_it(with_snapshots):
    found = functions(with_snapshots)
    assert {name: flag for name, f in found.items() if (flag := preloads(f))} == {
        "ai-stream": "true",
        "ai-worker": "true",
    }


def test_what_is_called_is_a_published_version(with_snapshots):
    """A snapshot is of a version: `$LATEST` has none."""
    for stack in ("ai", "audit"):
        named = with_snapshots.resources("AWS::Lambda::Function", stack)
        versions = with_snapshots.resources("AWS::Lambda::Version", stack)
        aliases = with_snapshots.resources("AWS::Lambda::Alias", stack)
        live = set()
        for alias in aliases.values():
            version, _ = alias["Properties"]["FunctionVersion"]["Fn::GetAtt"]
            assert alias["Properties"]["Name"] == "live"
            live.add(versions[version]["Properties"]["FunctionName"]["Ref"])
        assert live == set(named)
        mappings = with_snapshots.resources("AWS::Lambda::EventSourceMapping", stack)
        for mapping in mappings.values():
            called = json.dumps(mapping["Properties"]["FunctionName"])
            assert any(f'"{alias}"' in called for alias in aliases)


def test_no_snapshots_by_default(templates):
    for name, function in functions(templates).items():
        assert "SnapStart" not in function, name
        assert preloads(function) in {None, "false"} if "Environment" in function else True


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(None, False), ("", False), ("true", True), ("false", False), (True, True), (False, False)],
)
def test_the_setting_comes_from_the_context(given, wanted):
    assert settings.load({"snap_start": given}.get).snap_start is wanted


def test_what_is_no_flag_is_refused():
    with pytest.raises(settings.InvalidSettingError, match="true or false"):
        settings.load({"snap_start": "perhaps"}.get)
