"""Fetches the wheels of every bundle into uv's cache, so that a synth needs no network.

Most of them this machine has from its own environment; those of Lambda's platform it has not.
"""

import sys
import tempfile
from pathlib import Path

from infra.bundles import LAMBDA, NATIVE, ROOT, BundlingError, DependencyBundle


def main() -> int:
    """Install each lock for each platform into a folder that is thrown away."""
    locks = sorted(
        str(path.relative_to(ROOT))
        for folder in ("layers", "functions")
        for path in (ROOT / folder).glob("*/*requirements.txt")
    )
    for lock in locks:
        for platform in (LAMBDA, NATIVE):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    DependencyBundle(lock, platform=platform).install(Path(folder))
                except BundlingError as error:
                    print(error, file=sys.stderr)
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
