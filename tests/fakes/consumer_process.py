"""A consumer of the bus in a process of its own, which may be killed at any time."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.fakes.mortal import command, counts, environment, prepare, remove


@contextmanager
def consuming(aws: str, bus: str, event_type: str) -> Iterator[ConsumerProcess]:
    """One that takes the events of the type while the block runs."""
    prepare(aws, bus, event_type)
    consumer = ConsumerProcess(aws)
    try:
        yield consumer
    finally:
        consumer.end()
        remove(aws, bus)


class ConsumerProcess:
    """A process that consumes, and another one each time that it is killed."""

    def __init__(self, aws: str) -> None:
        self._aws = aws
        self._process = self._start()

    def kill(self) -> int:
        """Kills it and starts the next; how many were killed."""
        self.end()
        self._process = self._start()
        return 1

    def end(self) -> None:
        """Kills it."""
        self._process.kill()
        self._process.wait()

    def counts(self, kind: str, ids: Sequence[str]) -> Counter[str]:
        """How often it counted each of the events; without those that it never did."""
        return counts(self._aws, kind, ids)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command(self._aws, "go-on-consuming"), env=environment())
