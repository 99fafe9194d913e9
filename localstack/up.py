"""`python3 localstack/up.py`: the whole system on this machine. The same as `make up`.

Prepares the environment with the standard library alone, then hands over to the local cloud.
"""

import os
import sys

import prepare


def hand_over():
    """Become `python -m localcloud up` in the virtual environment."""
    import environment

    python = str(environment.BIN / "python")
    variables = dict(os.environ)
    variables["PYTHONPATH"] = str(environment.ROOT / "localstack")
    variables["PATH"] = os.pathsep.join((str(environment.BIN), os.environ.get("PATH", "")))
    os.chdir(str(environment.ROOT))
    os.execve(python, [python, "-m", "localcloud", "up"] + sys.argv[1:], variables)


if __name__ == "__main__":
    sys.exit(prepare.main() or hand_over())
