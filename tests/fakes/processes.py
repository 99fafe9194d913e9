"""Processes of a local cloud, found to be killed."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from random import Random


def processes(pattern: str, state: Path) -> list[int]:
    """Those whose command line holds `pattern`, of the local cloud whose state lies there."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except (OSError, ValueError):
            continue
        if pattern in command and str(state) in command + environment:
            found.append(int(entry.name))
    return found


def kill_a_worker(functions: list[str], state: Path, random: Random) -> bool:
    """Kills one process that runs one of the functions; whether there was one."""
    victims = [pid for name in functions for pid in processes(f"ministack-lambda-{name}-", state)]
    if not victims:
        return False
    with suppress(ProcessLookupError):
        os.kill(random.choice(victims), signal.SIGKILL)
    return True


def children(pattern: str) -> list[int]:
    """Processes below this one whose command line holds `pattern`."""
    parents: dict[int, int] = {}
    named: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(fields[1])
            if pattern in (entry / "cmdline").read_bytes().decode(errors="replace"):
                named.add(int(entry.name))

    def below(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == os.getpid():
                return True
        return False

    return [pid for pid in named if below(pid)]


def kill_children(pattern: str) -> None:
    """Kills them."""
    for pid in children(pattern):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
