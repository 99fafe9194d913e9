"""The process's own environment, forgotten: for one beside which runs what may be taken over.

Whoever has the same user id reads `/proc/<pid>/environ`, which shows the memory that the process
was started with, whatever was unset since. So that memory is overwritten, and the kernel told that
this process is not to be read (prctl(2), PR_SET_DUMPABLE).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection, Mapping
from pathlib import Path

_PR_SET_DUMPABLE = 4
# proc_pid_stat(5): env_start and env_end, counted from the field behind the name.
_ENV_START, _ENV_END = 49 - 2, 50 - 2


def forget(kept: Collection[str]) -> Mapping[str, str]:
    """Leaves the variables `kept`, which it returns, and of the others no trace; where there is no
    Linux they are unset.
    """
    values = {name: value for name, value in os.environ.items() if name in kept}
    for name in list(os.environ):
        del os.environ[name]
    stat = Path("/proc/self/stat")
    if stat.exists():
        fields = stat.read_text().rpartition(")")[2].split()
        start, end = int(fields[_ENV_START]), int(fields[_ENV_END])
        if 0 < start < end:
            ctypes.memset(start, 0, end - start)
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    # Set anew, they have memory of their own.
    os.environ.update(values)
    return values
