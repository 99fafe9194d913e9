"""A local cloud of a measure's own: deployed for it, removed with it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUS = "santaclaude-local"
"""The environment's bus."""

_NAMES = ("PROJECTFLOW", "AI", "BROWSER", "AUDIT", "MESSAGING")


@dataclass(frozen=True)
class LocalCloud:
    """Its address of AWS, its front doors of two services, and where its state lies."""

    aws: str
    browser: str
    messaging: str
    state: Path


@contextmanager
def local_cloud(**more: str) -> Iterator[LocalCloud]:
    """One that runs while the block does; `more` are its other settings, as variables."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(1 + len(_NAMES))]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        cloud, *ports = (one.getsockname()[1] for one in sockets)
    folder = tempfile.mkdtemp(prefix="sc-bench-")
    variables = {
        **{name: value for name, value in os.environ.items() if "AWS" not in name},
        "PYTHONPATH": str(ROOT / "localstack"),
        "LOCAL_STATE_DIR": folder,
        "LOCAL_CLOUD_PORT": str(cloud),
        **more,
        **{f"LOCAL_{name}_PORT": str(port) for name, port in zip(_NAMES, ports, strict=True)},
    }

    def localcloud(command: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "localcloud", command],
            cwd=ROOT,
            env=variables,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    try:
        localcloud("up")
        doors = dict(zip(_NAMES, (f"http://127.0.0.1:{port}" for port in ports), strict=True))
        yield LocalCloud(
            aws=f"http://127.0.0.1:{cloud}",
            browser=doors["BROWSER"],
            messaging=doors["MESSAGING"],
            state=Path(folder),
        )
    finally:
        localcloud("down")
        shutil.rmtree(folder, ignore_errors=True)
