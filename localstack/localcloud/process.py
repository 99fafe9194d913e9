"""Processes that outlive the command which starts them, and are never mistaken for others."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from localcloud.errors import LocalCloudError
from localcloud.state import read_json, write_json

_LOG_BYTES = 10_000_000
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Identity:
    """A process, told from a later one with the same number by the moment it was started."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process with that number; None when there is none, or only its exit status."""
        started = _started(pid)
        return cls(pid, started) if started else None

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _started(self.pid) == self.started


def _started(pid: int) -> str | None:
    proc = Path("/proc/self/stat")
    if proc.exists():
        try:
            fields = (
                Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            )
        except OSError:
            return None
        if fields[0] in {"Z", "X"}:
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{fields[19]}"
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C", "PATH": os.defpath},
    ).stdout.strip()
    return None if not answer or answer.startswith("Z") else answer.split(None, 1)[1]


@dataclass(frozen=True)
class Record:
    """What is known of a process that was started: kept in a file while it runs."""

    name: str
    identity: Identity
    log: Path
    # What it was started with; another value means that it must be started anew.
    configuration: str

    def save(self, directory: Path) -> None:
        """Write the record where `find` looks."""
        write_json(directory / f"{self.name}.json", asdict(self) | {"log": str(self.log)})


def find(directory: Path, name: str) -> Record | None:
    """The record of a process that still runs."""
    value = read_json(directory / f"{name}.json")
    try:
        record = Record(
            value["name"], Identity(**value["identity"]), Path(value["log"]), value["configuration"]
        )
    except (TypeError, KeyError):
        return None
    return record if record.identity.alive() else None


def forget(directory: Path, name: str) -> None:
    """Remove the record of a process that has ended."""
    (directory / f"{name}.json").unlink(missing_ok=True)


def open_log(path: Path) -> int:
    """A file descriptor that appends to the log; one that has grown large is put aside first."""
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_suffix(".old.log"))
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def start(
    directory: Path,
    *,
    name: str,
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    configuration: str,
) -> Record:
    """Start a process in a session of its own, so that Ctrl-C here does not reach it."""
    descriptor = open_log(log)
    try:
        child = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    # The child outlives this object on purpose: said here, or the interpreter warns at its end.
    child.returncode = 0
    identity = Identity.of(child.pid) or Identity(child.pid, "ended")
    record = Record(name, identity, log, configuration)
    record.save(directory)
    return record


def wait_until(record: Record, ready: Callable[[], bool], *, seconds: float) -> None:
    """Wait until `ready` says so.

    Raises LocalCloudError when the process ends first, with the last words of its log, or when the
    time is over.
    """
    log_from = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        _reap(record.identity.pid)
        if not record.identity.alive():
            raise LocalCloudError(
                f"{record.name} ended while it started: {last_line(record.log, log_from)}",
                f"The whole log is {record.log}.",
            )
        if ready():
            return
        time.sleep(_POLL_SECONDS)
    raise LocalCloudError(
        f"{record.name} did not answer within {seconds:.0f} s.", f"Its log is {record.log}."
    )


def last_line(log: Path, start: int = 0) -> str:
    """The last line of a log that says something."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - 16_384))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return "it said nothing."
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing."


def stop(identity: Identity, *, seconds: float) -> bool:
    """Ask the process to end, and end it after `seconds`. Returns whether it ended by itself."""
    if not identity.alive():
        return True
    with contextlib.suppress(ProcessLookupError):
        os.kill(identity.pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        _reap(identity.pid)
        if not identity.alive():
            return True
        time.sleep(_POLL_SECONDS)
    kill(identity)
    return False


def kill(identity: Identity) -> None:
    """End the process at once, and what it has started in its session."""
    if not identity.alive():
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(identity.pid, signal.SIGKILL)
    while identity.alive():
        _reap(identity.pid)
        time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let the block clean up to its end, however often Ctrl-C is pressed."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)


def _reap(pid: int) -> None:
    """Collect the exit status of a child of this process."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
