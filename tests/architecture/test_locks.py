"""Locks are what pyproject says, and name no index."""

import json
import re
import shutil

import pytest

from scripts import lock


def test_locks_are_current():
    assert lock.stale() == []


@pytest.mark.parametrize("entry", lock.LOCKS, ids=lambda entry: entry.group)
def test_locks_are_hashed_and_name_no_address(entry):
    text = (lock.ROOT / entry.path).read_text()
    assert "://" not in text
    for block in re.split(r"\n(?=\S)", text):
        if re.match(r"[A-Za-z0-9]", block):
            assert "--hash=sha256:" in block, block


def test_a_changed_requirement_makes_its_lock_stale(tmp_path):
    for path in ("pyproject.toml", *(entry.path for entry in lock.LOCKS)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(lock.ROOT / path, tmp_path / path)
    assert lock.stale(tmp_path) == []
    pyproject = tmp_path / "pyproject.toml"
    changed = re.sub(r'"mangum>=[^"]*"', '"mangum>=0.1"', pyproject.read_text())
    pyproject.write_text(changed)
    assert lock.stale(tmp_path) == [
        "requirements-dev.txt",
        "functions/ai/requirements.txt",
        "functions/audit/requirements.txt",
        "functions/browser/requirements.txt",
        "functions/messaging/requirements.txt",
    ]


def test_node_packages_are_pinned_and_their_lock_names_no_registry():
    package = json.loads((lock.ROOT / "package.json").read_text())
    assert package["devDependencies"].keys() == {"ai", "aws-cdk"}
    for version in package["devDependencies"].values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert "resolved" not in (lock.ROOT / "package-lock.json").read_text()


def test_no_other_lock():
    assert not (lock.ROOT / "uv.lock").exists()
