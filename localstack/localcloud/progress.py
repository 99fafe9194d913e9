"""Progress for a person who waits."""

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
        print(f"[{self.elapsed:5.1f} s] {text}", flush=True)
