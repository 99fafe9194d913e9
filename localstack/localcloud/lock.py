"""One command at a time works on a local cloud."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcloud.errors import LocalCloudError


@contextmanager
def exclusive(path: Path, *, command: str) -> Iterator[None]:
    """Hold the lock file while the block runs; the system lets go of it when the process ends.

    Raises LocalCloudError at once when another process holds it.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another command"
            raise LocalCloudError(
                f"{holder} is at work on this local cloud.", "Wait until it ends, then try again."
            ) from error
        file.truncate(0)
        file.write(f"`{command}` (process {os.getpid()})")
        file.flush()
        yield
        file.truncate(0)
