"""Entry of the set-up that any Python can read: one too old to go on says so in one line."""

import sys


def main():
    """Bring the environment up to date; returns the exit code."""
    if sys.version_info < (3, 8):
        sys.stderr.write(
            "error: Python 3.11 or later is needed, this is %d.%d: "
            "install one from your package manager\n" % sys.version_info[:2]
        )
        return 1
    import environment

    return environment.main()


if __name__ == "__main__":
    sys.exit(main())
