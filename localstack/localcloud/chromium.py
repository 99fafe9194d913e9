"""The machine's Chromium: found, or fetched.

`python -m localcloud.chromium` says where it is and fetches one if there is none.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

VARIABLE = "CHROMIUM_PATH"

REMEDY = (
    "install one (Debian: `apt install chromium-headless-shell`; elsewhere "
    "`.venv/bin/python -m playwright install chromium-headless-shell`) or set CHROMIUM_PATH"
)

# The headless shell starts in a third of the time of the whole browser.
_SHELLS = ("chromium-headless-shell", "chrome-headless-shell")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# Below the folder of Playwright's downloads, on Linux and on macOS.
_DOWNLOADED_SHELLS = (
    "chromium_headless_shell-*/*/headless_shell",
    "chromium_headless_shell-*/*/chrome-headless-shell",
)
_DOWNLOADED_BROWSERS = ("chromium-*/*/chrome", "chromium-*/*/*.app/Contents/MacOS/*")
_APT = ("chromium-headless-shell", "fonts-liberation")
_FETCH_SECONDS = 600
_TRY_SECONDS = 20


def find(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file to start, or None. `CHROMIUM_PATH` alone counts where it is set."""
    named = environment.get(VARIABLE)
    if named:
        path = Path(named)
        return path if path.is_file() and os.access(path, os.X_OK) else None
    return next(_candidates(environment), None)


@functools.cache
def sandboxes(chromium: Path) -> bool:
    """Whether its own sandbox works here: the kernel may forbid it, and root never has it."""
    command = [str(chromium), "--headless", "--disable-gpu", "--dump-dom", "about:blank"]
    try:
        tried = subprocess.run(command, capture_output=True, timeout=_TRY_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0


def fetch() -> None:
    """Debian's package as root, else Playwright's download; what they print is this program's."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *_APT],
        ):
            subprocess.run(command, env=quiet, timeout=_FETCH_SECONDS, check=False)
    if find() is None:
        command = [sys.executable, "-m", "playwright", "install", "chromium-headless-shell"]
        subprocess.run(command, timeout=_FETCH_SECONDS, check=False)


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    search = environment.get("PATH", os.defpath)
    downloads = _downloads(environment)
    for names, patterns in ((_SHELLS, _DOWNLOADED_SHELLS), (_BROWSERS, _DOWNLOADED_BROWSERS)):
        yield from (Path(found) for name in names if (found := shutil.which(name, path=search)))
        for pattern in patterns:
            there = (path for path in downloads.glob(pattern) if os.access(path, os.X_OK))
            yield from sorted(there, reverse=True)


def _downloads(environment: Mapping[str, str]) -> Path:
    """https://playwright.dev/python/docs/browsers#managing-browser-binaries"""
    named = environment.get("PLAYWRIGHT_BROWSERS_PATH")
    if named and named != "0":
        return Path(named)
    home = Path(environment.get("HOME", "/nonexistent"))
    caches = home / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return caches / "ms-playwright"


def main() -> int:
    """0 where there is one in the end."""
    if find() is None and not os.environ.get(VARIABLE):
        fetch()
    found = find()
    print(found or f"no Chromium: {REMEDY}", file=sys.stdout if found else sys.stderr)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
