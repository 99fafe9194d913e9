"""Size of what is uploaded for the services' functions on AWS (arm64, Python 3.13)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.bundles import SERVICES, zipped_size
from bench.figure import Figure
from infra.bundles import LAMBDA

_MEGABYTE = 1_000_000


def measure() -> Iterator[Figure]:
    """Zipped sizes; the functions of a service share the code, all services the common layers."""
    seen = set()
    for service in SERVICES:
        with tempfile.TemporaryDirectory() as folder:
            for name, path in service.build(Path(folder), LAMBDA):
                title = f"zipped {name} of {service.name}" if name == "code" else f"zipped {name}"
                if title not in seen:
                    seen.add(title)
                    limit = 1.5 if name == "code" else None
                    yield Figure(title, zipped_size(path) / _MEGABYTE, "MB", limit)
