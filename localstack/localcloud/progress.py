"""What a person who waits is told."""

import os
import sys
import time


class Progress:
    """Prints each step with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def step(self, text: str) -> None:
        """Say what begins now."""
        say(f"[{self.elapsed:5.1f} s] {text}")


def say(text: str = "") -> None:
    """Print a line. A reader that has gone, as `head` or a closed terminal, stops no work."""
    try:
        print(text, flush=True)
    except OSError:
        discard_output()


def discard_output() -> None:
    """Have what is still printed go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
