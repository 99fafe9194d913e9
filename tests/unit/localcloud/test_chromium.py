"""Which Chromium the local cloud takes."""

import pytest

from localcloud import chromium


def program(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}


def test_the_one_that_is_named(machine, tmp_path):
    program(tmp_path / "bin/chromium")
    mine = program(tmp_path / "mine")
    assert chromium.find({**machine, "CHROMIUM_PATH": str(mine)}) == mine


def test_where_the_named_one_is_not_there_is_none(machine, tmp_path):
    program(tmp_path / "bin/chromium")
    assert chromium.find({**machine, "CHROMIUM_PATH": str(tmp_path / "other")}) is None


def test_a_headless_shell_comes_before_a_browser(machine, tmp_path):
    browser = program(tmp_path / "bin/chromium")
    assert chromium.find(machine) == browser
    cached = ".cache/ms-playwright/chromium_headless_shell-1200/chrome-linux/headless_shell"
    downloaded = program(tmp_path / cached)
    assert chromium.find(machine) == downloaded
    shell = program(tmp_path / "bin/chromium-headless-shell")
    assert chromium.find(machine) == shell


def test_downloads_lie_where_the_variable_says(machine, tmp_path):
    found = program(tmp_path / "elsewhere/chromium-1200/chrome-linux/chrome")
    assert chromium.find(machine) is None
    there = {**machine, "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path / "elsewhere")}
    assert chromium.find(there) == found


def test_what_does_not_start_has_no_sandbox(tmp_path):
    broken = program(tmp_path / "broken")
    broken.write_text("#!/bin/sh\nexit 1\n")
    assert not chromium.sandboxes(broken)
    assert not chromium.sandboxes(tmp_path / "missing")
    assert chromium.sandboxes(program(tmp_path / "works"))
