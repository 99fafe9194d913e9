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
_POLL_SECONDS = 0.01


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
                Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()
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
    # Where its own words begin in the log.
    log_from: int = 0

    def save(self, directory: Path) -> None:
        """Write the record where `find` looks."""
        write_json(directory / f"{self.name}.json", asdict(self) | {"log": str(self.log)})


def find(directory: Path, name: str) -> Record | None:
    """The record of a process that still runs."""
    record = recorded(directory, name)
    return record if record and record.identity.alive() else None


def recorded(directory: Path, name: str) -> Record | None:
    """The record of a process that was started and not seen to its end."""
    value = read_json(directory / f"{name}.json")
    try:
        identity = Identity(**value["identity"])
        record = Record(**value | {"identity": identity, "log": Path(value["log"])})
    except (TypeError, KeyError):
        return None
    return record


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
    """Start a process in a session of its own, so that Ctrl-C here does not reach it.

    An interrupt waits until the record is written: nothing runs that nobody can find.
    """
    with uninterrupted():
        child, log_from = spawn(command, env=env, cwd=cwd, log=log)
        # It outlives this object on purpose: said here, or the interpreter warns at its end.
        child.returncode = 0
        identity = Identity.of(child.pid) or Identity(child.pid, "ended")
        record = Record(name, identity, log, configuration, log_from)
        try:
            record.save(directory)
        except BaseException:
            kill(identity)
            raise
    return record


def spawn(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path
) -> tuple[subprocess.Popen[bytes], int]:
    """A process that leads a session and appends to the log, and where in the log it begins."""
    descriptor = open_log(log)
    try:
        log_from = os.lseek(descriptor, 0, os.SEEK_END)
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
    return child, log_from


def wait_until(record: Record, ready: Callable[[], bool], *, seconds: float) -> None:
    """Wait until `ready` says so.

    Raises LocalCloudError when the process ends first, with the last words of its log, or when the
    time is over.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        _reap(record.identity.pid)
        if not record.identity.alive():
            raise LocalCloudError(
                f"{record.name} ended while it started: {last_line(record.log, record.log_from)}",
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
    """End the process at once, and its group where it leads one."""
    if not identity.alive():
        return
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(identity.pid) == identity.pid:
            os.killpg(identity.pid, signal.SIGKILL)
        else:
            os.kill(identity.pid, signal.SIGKILL)
    while identity.alive():
        _reap(identity.pid)
        time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let the block clean up to its end, however often Ctrl-C is pressed."""
    with _held():
        yield


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let the block come to its end before an interrupt takes effect."""
    with _held() as arrived:
        yield
    if arrived:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _held() -> Iterator[list[int]]:
    """The signals that end a command are noted only.

    Handled, not ignored: what the block starts would inherit the ignoring.
    """
    arrived: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: arrived.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield arrived
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _reap(pid: int) -> None:
    """Collect the exit status of a child of this process."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
