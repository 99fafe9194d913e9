"""`python3 localstack/up.py`: the whole system on this machine. The same as `make up`.

Prepares the environment with the standard library alone, then hands over to the local cloud.
"""

import os
import sys
from typing import NoReturn

import environment


def hand_over() -> NoReturn:
    """Become `python -m localcloud up` in the virtual environment."""
    python = str(environment.BIN / "python")
    variables = {
        **os.environ,
        "PYTHONPATH": str(environment.ROOT / "localstack"),
        "PATH": f"{environment.BIN}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    os.chdir(environment.ROOT)
    os.execve(python, [python, "-m", "localcloud", "up", *sys.argv[1:]], variables)  # noqa: S606


if __name__ == "__main__":
    sys.exit(environment.main() or hand_over())
