"""Size of what is uploaded for the AI service's functions on AWS (arm64, Python 3.13)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.bundles import build, zipped_size
from bench.figure import Figure
from infra.bundles import LAMBDA

_MEGABYTE = 1_000_000


def measure() -> Iterator[Figure]:
    """Zipped sizes; both AI functions share the code."""
    with tempfile.TemporaryDirectory() as folder:
        for name, path in build(Path(folder), LAMBDA):
            limit = 1.0 if name == "code" else None
            yield Figure(f"zipped {name}", zipped_size(path) / _MEGABYTE, "MB", limit)
