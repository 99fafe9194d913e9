"""Compiles every lock file from pyproject's dependency groups: `make lock`.

Locks are hashed, universal (every platform and Python from requires-python on) and name no index.
Each begins with the fingerprint of the requirements it was compiled from, so that `--check` needs
no network: it fails when pyproject was changed and `make lock` was not run. Pins that still fit are
kept; `--upgrade` takes the newest releases.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_MARK = "# requirements: sha256:"


@dataclass(frozen=True)
class Lock:
    """One lock file: the group it is compiled from, and the lock whose pins it must share."""

    group: str
    path: str
    constraint: str | None = None


LOCKS = (
    Lock("dev", "requirements-dev.txt"),
    Lock("layer", "layers/common/requirements.txt", constraint="requirements-dev.txt"),
    Lock("ai", "functions/ai/requirements.txt", constraint="requirements-dev.txt"),
    Lock("audit", "functions/audit/requirements.txt", constraint="requirements-dev.txt"),
    Lock("audit-cold", "functions/audit/cold-requirements.txt", constraint="requirements-dev.txt"),
    Lock("browser", "functions/browser/requirements.txt", constraint="requirements-dev.txt"),
    Lock(
        "browser-worker",
        "functions/browser_worker/requirements.txt",
        constraint="requirements-dev.txt",
    ),
    Lock("browser-image", "images/browser/requirements.txt", constraint="requirements-dev.txt"),
    Lock("messaging", "functions/messaging/requirements.txt", constraint="requirements-dev.txt"),
)


def _requirements(groups: dict[str, list[str | dict[str, str]]], group: str) -> list[str]:
    """A group's requirements with those of the groups that it includes (PEP 735)."""
    flat: list[str] = []
    for entry in groups[group]:
        if isinstance(entry, str):
            flat.append(entry)
        else:
            flat += _requirements(groups, entry["include-group"])
    return sorted(set(flat))


def fingerprint(lock: Lock, pyproject: str) -> str:
    """Of what `lock` is to be compiled from, as pyproject's text says it."""
    document = tomllib.loads(pyproject)
    source = [
        document["project"]["requires-python"],
        _requirements(document["dependency-groups"], lock.group),
    ]
    return _MARK + hashlib.sha256(json.dumps(source).encode()).hexdigest()


def stale(root: Path = ROOT) -> list[str]:
    """Paths of the locks that were not compiled from what pyproject says now."""
    pyproject = (root / "pyproject.toml").read_text()
    return [
        lock.path
        for lock in LOCKS
        if not (root / lock.path).read_text().startswith(fingerprint(lock, pyproject) + "\n")
    ]


def compile_lock(lock: Lock, *, upgrade: bool) -> None:
    """Write the lock, keeping the pins that still fit unless `upgrade`."""
    uv = Path(sys.executable).with_name("uv")
    command = [
        str(uv), "pip", "compile", "--quiet", "--universal", "--python-version", "3.11",
        "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links",
        "--custom-compile-command", "make lock",
        "--group", f"pyproject.toml:{lock.group}", "--output-file", lock.path,
    ]  # fmt: skip
    if lock.constraint:
        command += ["--constraint", lock.constraint]
    if upgrade:
        command.append("--upgrade")
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"}, check=True
    )
    path = ROOT / lock.path
    mark = fingerprint(lock, (ROOT / "pyproject.toml").read_text())
    path.write_text(f"{mark}\n{path.read_text()}")


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a lock is stale")
    parser.add_argument("--upgrade", action="store_true", help="take the newest releases")
    arguments = parser.parse_args()
    if arguments.check:
        behind = stale()
        for path in behind:
            print(f"{path} is stale: run `make lock`", file=sys.stderr)
        return 1 if behind else 0
    for lock in LOCKS:
        compile_lock(lock, upgrade=arguments.upgrade)
    return 0


if __name__ == "__main__":
    sys.exit(main())
