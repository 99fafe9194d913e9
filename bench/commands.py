"""Wall time of the commands that people wait for."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.figure import Figure

ROOT = Path(__file__).resolve().parent.parent


def _seconds(command: list[str], **variables: str) -> float:
    started = time.monotonic()
    subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **variables},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.monotonic() - started


def _context(environment: str) -> Mapping[str, str]:
    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    return {"CDK_CONTEXT_JSON": json.dumps({**context, "env": environment})}


def measure_synth() -> Iterator[Figure]:
    """A synth with every rule on: bundles built before, as after any change to the app."""
    with tempfile.TemporaryDirectory() as folder:
        for environment in ("local", "dev", "prod"):
            variables = {"CDK_OUTDIR": folder, **_context(environment)}
            _seconds([sys.executable, "app.py"], **variables)
            taken = _seconds([sys.executable, "app.py"], **variables)
            yield Figure(f"synth of {environment}", taken, "s", 15)


def measure_unit() -> Iterator[Figure]:
    """The tests that need neither network nor cloud."""
    command = [sys.executable, "-m", "pytest", "tests/unit", "tests/contract", "tests/architecture"]
    yield Figure("unit, contract and architecture tests", _seconds(command), "s", 90)


def measure_up() -> Iterator[Figure]:
    """`make up` from a clean clone (package caches as they are), then again unchanged."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        ports = {
            "LOCAL_CLOUD_PORT": "14566",
            **{
                f"LOCAL_{name}_PORT": str(port)
                for port, name in enumerate(
                    ("PROJECTFLOW", "AI", "BROWSER", "AUDIT", "MESSAGING"), 18000
                )
            },
        }
        # A clean clone's `make` must not find this checkout's environment.
        path = os.pathsep.join(
            part for part in os.environ["PATH"].split(os.pathsep) if not part.startswith(str(ROOT))
        )
        make = ["make", "--no-print-directory", "-C", str(clone)]
        try:
            for name, limit in (("from a clean clone", 180), ("warm and unchanged", 15)):
                taken = _seconds([*make, "up"], PATH=path, PYTHONPATH="", **ports)
                yield Figure(f"make up, {name}", taken, "s", limit)
                _seconds([*make, "down"], PATH=path, PYTHONPATH="", **ports)
        finally:
            subprocess.run([*make, "down"], env={**os.environ, "PATH": path, **ports}, check=False)
