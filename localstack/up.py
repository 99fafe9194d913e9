"""`python3 localstack/up.py`: the whole system on this machine. The same as `make up`.

Prepares the environment with the standard library alone, then hands over to the local cloud.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Prepare, then become `python -m localcloud up` in the virtual environment."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file must say so itself, on any Python
        print("error: Python 3.11 or later is needed", file=sys.stderr)
        return 1
    sys.path.insert(0, str(HERE))
    import environment  # noqa: PLC0415 - it needs the version just checked

    code = environment.main()
    if code:
        return code
    python = str(environment.BIN / "python")
    variables = {
        **os.environ,
        "PYTHONPATH": str(HERE),
        "PATH": f"{environment.BIN}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    os.chdir(environment.ROOT)
    os.execve(python, [python, "-m", "localcloud", "up", *sys.argv[1:]], variables)  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
