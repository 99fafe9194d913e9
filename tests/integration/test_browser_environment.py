"""What the browser's process leaves for others to find."""

import subprocess
import sys

import pytest

from functions.browser_worker.adapters import leftovers
from tests.conftest import ROOT

SCRIPT = """
import os, sys
from pathlib import Path
sys.path[:0] = [{layer!r}]
from servicekit.process_environment import forget
kept = forget(["PATH", "HOME"])
found = Path("/proc/self/environ").read_bytes()
print(sorted(kept), sorted(os.environ), b"secret" in found, os.popen("env").read().count("secret"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_forgotten_environment_is_in_no_memory_that_the_kernel_shows():
    script = SCRIPT.format(layer=str(ROOT / "layers/common/python"))
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": "/usr/bin:/bin", "HOME": "/", "AWS_SECRET_ACCESS_KEY": "secret"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split("\n")[0] == "['HOME', 'PATH'] ['HOME', 'PATH'] False 0"


def test_leftovers_of_browsers_are_swept_and_nothing_else(tmp_path):
    for name in ("playwright-artifacts-x", "playwright_chromiumdev_profile-y", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / "core.123").write_text("x")
    assert leftovers.sweep(tmp_path) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
