"""Fixtures that several kinds of tests share."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Kinds of tests that must not open a socket, whatever they import.
OFFLINE = ("unit", "contract", "architecture")
# Kinds whose tests share what is made once: one cloud, and the templates of each environment.
TOGETHER = ("e2e", "infra")


def pytest_collection_modifyitems(items):
    # What takes longest begins first, so that `make test`'s other process does the rest meanwhile.
    items.sort(key=lambda item: _kind(item) not in TOGETHER)
    for item in items:
        kind = _kind(item)
        if kind in OFFLINE and not any(item.iter_markers("enable_socket")):
            item.add_marker(pytest.mark.disable_socket)
        if kind == "e2e":
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Of one process: a kind that shares, else a file."""
    from xdist.scheduler import LoadScopeScheduling

    class ByKind(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.split("::")[0]
            kind = path.split("/")[1]
            return kind if kind in TOGETHER else path

    return ByKind(config, log)


def _kind(item):
    return item.path.relative_to(ROOT / "tests").parts[0]


# With a browser, the pool is there: the local cloud's is the machine's, AWS's an image.
_BROWSERS = {"local": {"chromium_path": "/usr/bin/chromium"}}
_IMAGE = {"browser_image": f"browser@sha256:{'0' * 64}"}


class Templates:
    """The synthesized templates of one environment, by the stack's short name."""

    def __init__(self, folder: Path, environment: str) -> None:
        prefix = f"santaclaude-{environment}-"
        self.stacks: dict[str, dict[str, Any]] = {
            path.name.removeprefix(prefix).removesuffix(".template.json"): json.loads(
                path.read_text()
            )
            for path in folder.glob(f"{prefix}*.template.json")
        }
        self.metadata: dict[str, Any] = {
            key: value
            for path in folder.glob(f"{prefix}*.metadata.json")
            for key, value in json.loads(path.read_text()).items()
        }

    def resources(self, kind: str, stack: str | None = None) -> dict[str, dict[str, Any]]:
        """Resources of a CloudFormation type by logical id; those of all stacks by `stack/id`."""
        return {
            name if stack else f"{owner}/{name}": resource
            for owner, template in self.stacks.items()
            for name, resource in template["Resources"].items()
            if stack in {None, owner} and resource["Type"] == kind
        }


@functools.cache
def synthesize(environment: str, **context: str) -> Templates:
    """Templates as `cdk synth` makes them, with neither credentials nor a network to reach.

    cdk-nag runs; CDK's own template validation and the building of bundles do not.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env={
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "HOME": folder,
                # Unpacking the CDK library anew would take longer than the synth.
                "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(ROOT / ".local" / "jsii"),
                "CDK_OUTDIR": folder,
                "CDK_VALIDATION": "false",
                "CDK_CONTEXT_JSON": json.dumps(
                    {
                        **json.loads((ROOT / "cdk.json").read_text())["context"],
                        **_BROWSERS.get(environment, _IMAGE),
                        **context,
                        "env": environment,
                        "aws:cdk:bundling-stacks": [],
                    }
                ),
                "NODE_COMPILE_CACHE": str(ROOT / ".local" / "node"),
                "HTTPS_PROXY": "http://127.0.0.1:1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr[-4000:]
        return Templates(Path(folder), environment)


@pytest.fixture(scope="session", params=["local", "dev", "staging", "prod"])
def templates(request) -> Templates:
    return synthesize(request.param)


@pytest.fixture(scope="session")
def prod() -> Templates:
    return synthesize("prod")


@pytest.fixture(scope="session")
def local() -> Templates:
    return synthesize("local")
