"""Prepares `.venv` and `node_modules` from the locks, with nothing but Python 3.11+ and its venv.

Run by `prepare.py` before everything else. Standard library only; quick when nothing has changed.
What is missing on the machine is told in one line with its remedy. Nothing newer than Python 3.8
stands here: it may run on that and find a newer one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STAMP = VENV / ".prepared"
LOCKS = (
    ROOT / "requirements-dev.txt",
    ROOT / "package-lock.json",
    *sorted(ROOT.glob("layers/*/requirements.txt")),
    *sorted(ROOT.glob("functions/*/requirements.txt")),
)

OLDEST = (3, 11)
# Lambda's runtime here; the others follow, newest first.
PREFERRED = ("python3.13", "python3.14", "python3.12", "python3.11", "python3")
FREE_SPACE_MB = 2048

_PIP = (BIN / "python", "-m", "pip", "--disable-pip-version-check")
_PROBE = "import ensurepip, sys, venv; print(*sys.version_info[:2])"


class SetupError(Exception):
    """The machine lacks something; the message names it and the remedy."""


def main() -> int:
    """Bring the environment up to date; returns the exit code."""
    # An interrupted step is ended, not left to itself, whichever way this is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with LOCKS[0].open() as turn:
            _take(turn)
            prepare()
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


def prepare() -> None:
    """Make `.venv` and `node_modules` match the locks. Raises SetupError."""
    fingerprint = _fingerprint()
    if STAMP.is_file() and STAMP.read_text() == fingerprint and _usable(BIN / "python"):
        return
    STAMP.unlink(missing_ok=True)
    _require_space()
    interpreter = _interpreter()
    if not _whole(BIN / "python"):
        _step(f"virtual environment ({interpreter})")
        shutil.rmtree(VENV, ignore_errors=True)
        _run([interpreter, "-m", "venv", str(VENV)], "python3 -m venv failed")
    _step("packages from requirements-dev.txt")
    _install_uv()
    _run(
        [BIN / "uv", "pip", "sync", "--quiet", "--require-hashes", LOCKS[0]],
        "the packages of requirements-dev.txt could not be installed",
    )
    _step("wheels for Lambda's platform")
    _run([BIN / "python", "-m", "scripts.fetch_wheels"], "the bundles' wheels could not be fetched")
    _step("CDK CLI and AI SDK from package-lock.json")
    _run(
        [BIN / "npm", "ci", "--no-audit", "--no-fund", "--loglevel", "error"],
        "npm ci failed",
    )
    _step("Chromium, found or fetched")
    try:
        _run([BIN / "python", "-m", "localcloud.chromium"], "there is none")
    except SetupError as error:
        # Everything but the browser pool works without.
        print(f"warning: {error}", file=sys.stderr)
    STAMP.write_text(fingerprint)


def _take(turn: IO[str]) -> None:
    """Two set-ups at once would write the same files: the second waits for the first."""
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _step("another set-up is at work: waiting for it")
        fcntl.flock(turn, fcntl.LOCK_EX)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for lock in LOCKS:
        digest.update(lock.read_bytes())
    return digest.hexdigest()


def _usable(python: Path) -> bool:
    return python.exists() and (ROOT / "node_modules" / "aws-cdk").is_dir()


def _whole(python: Path) -> bool:
    """Whether the virtual environment was made to its end: pip comes last."""
    try:
        return not subprocess.run(
            [python, "-m", "pip", "--version"], capture_output=True, timeout=60, check=False
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


def _require_space() -> None:
    free = shutil.disk_usage(ROOT).free // 2**20
    if free < FREE_SPACE_MB:
        raise SetupError(
            f"{free} MB free below {ROOT.name}, {FREE_SPACE_MB} MB needed: make room and run again"
        )


def _interpreter() -> str:
    """The first Python of PREFERRED that runs, is new enough and can make virtual environments."""
    for python in _candidates():
        version = _version(Path(python))
        if version and version >= OLDEST:
            return python
    if (sys.version_info.major, sys.version_info.minor) >= OLDEST:
        raise SetupError(
            "Python's venv module is missing: on Debian and Ubuntu `apt install python3-venv`"
        )
    raise SetupError(
        f"Python {OLDEST[0]}.{OLDEST[1]} or later is needed, this is "
        f"{sys.version_info.major}.{sys.version_info.minor}: install one from your package manager"
    )


def _candidates() -> Iterator[str]:
    """Interpreters by preference: on PATH, else among pyenv's, whose shims may be switched off.

    Never one of `.venv`, which `make` puts first on PATH and which may be about to be made anew.
    """
    path = os.pathsep.join(
        folder for folder in os.get_exec_path() if Path(folder).absolute() != BIN
    )
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for name in PREFERRED:
        found = shutil.which(name, path=path)
        if found:
            yield found
        yield from (str(found) for found in sorted(pyenv.glob(f"*/bin/{name}"), reverse=True))
    if Path(sys.prefix) != VENV:
        yield sys.executable


def _version(python: Path) -> tuple[int, int] | None:
    """What `python` is, or None when it does not run or has no venv and ensurepip."""
    try:
        result = subprocess.run(
            [python, "-c", _PROBE], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if result.returncode:
        return None
    major, minor = result.stdout.split()
    return int(major), int(minor)


def _install_uv() -> None:
    """Uv from its own entry of the lock, so that its hash is checked too."""
    lines = LOCKS[0].read_text().splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.startswith("uv=="))
    entry = [lines[start]]
    for line in lines[start + 1 :]:
        if not line.lstrip().startswith("--hash"):
            break
        entry.append(line)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirement:
        requirement.write("".join(entry))
        requirement.flush()
        _run(
            [*_PIP, "install", "--quiet", "--require-hashes", "-r", requirement.name],
            "uv could not be installed from the package index",
        )


def _run(command: Sequence[str | Path], failure: str) -> None:
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "UV_PYTHON_DOWNLOADS": "never",
        "VIRTUAL_ENV": str(VENV),
        "PYTHONPATH": str(ROOT / "localstack"),
    }
    result = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        lines = [line for line in (result.stderr + result.stdout).splitlines() if line.strip()]
        raise SetupError(f"{failure}: " + " | ".join(lines[-3:]))


_STARTED = time.monotonic()


def _step(text: str) -> None:
    print(f"[{time.monotonic() - _STARTED:5.1f} s] {text}", flush=True)
