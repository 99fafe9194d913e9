"""CPU and memory of functions from process start to ready, from their bundles alone.

What Lambda calls INIT, without the provider's SDK, which is loaded on first use. CPU time is of
the whole process, so a busy machine changes it little; the median of several starts counts.
"""

import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.bundles import AI, AUDIT, MESSAGING, Service
from bench.figure import Figure
from infra.bundles import NATIVE

_STARTS = 7
_READY_SECONDS = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")
_MEGABYTE = 1024.0

_HANDLER = """
import os
import {module} as entrypoint

entrypoint.handler
times = os.times()
status = open("/proc/self/status").read()
print(times.user + times.system, status.split("VmHWM:")[1].split()[0])
"""


def measure() -> Iterator[Figure]:
    """CPU seconds and resident megabytes of the functions, the streaming one by its socket."""
    with tempfile.TemporaryDirectory() as folder:
        started = _Started(AI, Path(folder))
        for entrypoint in ("api", "worker", "dispatch", "audit", "upkeep"):
            yield from _figures(f"ai-{entrypoint}", started.handler(entrypoint), cpu=1.0)
        yield from _figures("ai-stream", started.stream(), cpu=0.7, memory=60.0)
    with tempfile.TemporaryDirectory() as folder:
        started = _Started(AUDIT, Path(folder))
        for entrypoint in ("ingest", "query", "control"):
            yield from _figures(f"audit-{entrypoint}", started.handler(entrypoint), cpu=1.0)
    with tempfile.TemporaryDirectory() as folder:
        started = _Started(MESSAGING, Path(folder))
        for entrypoint in ("publish", "control"):
            yield from _figures(f"messaging-{entrypoint}", started.handler(entrypoint), cpu=1.0)


def _figures(
    name: str, starts: list[tuple[float, float]], *, cpu: float, memory: float | None = None
) -> Iterator[Figure]:
    median = statistics.median(start[0] for start in starts)
    yield Figure(f"{name}: CPU from process start to ready", median, "s", cpu)
    yield Figure(f"{name}: memory when ready", max(start[1] for start in starts), "MB", memory)


class _Started:
    """Starts of one service's functions, seven of each."""

    def __init__(self, service: Service, folder: Path) -> None:
        folders = dict(service.build(folder, NATIVE))
        self._service = service
        self._folder = folder
        self._code = folders.pop("code")
        self._interpreter = _bare_interpreter(folder)
        layers = [str(layer / "python") for layer in folders.values()]
        self._environment = {
            **service.environment,
            "PATH": f"{self._interpreter.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([*layers, str(self._code)]),
            "PYTHONNOUSERSITE": "1",
        }

    def handler(self, entrypoint: str) -> list[tuple[float, float]]:
        """CPU seconds and megabytes of a function with a Python handler."""
        module = f"functions.{self._service.name}.entrypoints.{entrypoint}"
        program = _HANDLER.format(module=module)
        return [
            _handler(self._interpreter, program, self._code, self._environment)
            for _ in range(_STARTS)
        ]

    def stream(self) -> list[tuple[float, float]]:
        """The same of the streaming function."""
        return [
            _stream(self._code, self._environment, self._folder / f"{n}.sock")
            for n in range(_STARTS)
        ]


def _bare_interpreter(folder: Path) -> Path:
    """A `python` that sees none of this environment's packages."""
    binary = folder / "bin" / "python"
    binary.parent.mkdir()
    binary.symlink_to(Path(sys._base_executable).resolve())  # type: ignore[attr-defined]  # noqa: SLF001
    return binary


def _handler(
    interpreter: Path, program: str, code: Path, environment: dict[str, str]
) -> tuple[float, float]:
    output = subprocess.run(
        [interpreter, "-c", program],
        cwd=code,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    cpu, kilobytes = output.split()[-2:]
    return float(cpu), float(kilobytes) / _MEGABYTE


def _stream(code: Path, environment: dict[str, str], listener: Path) -> tuple[float, float]:
    process = subprocess.Popen(
        [code / "functions/ai/stream.sh"],
        cwd=code,
        env={**environment, "UVICORN_UDS": str(listener), "LAMBDA_TASK_ROOT": str(code)},
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait(listener, process)
        stat = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        status = Path(f"/proc/{process.pid}/status").read_text()
        kilobytes = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return (int(stat[11]) + int(stat[12])) / _TICKS, int(kilobytes.split()[1]) / _MEGABYTE
    finally:
        process.terminate()
        process.wait(10)


def _wait(listener: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(listener))
            connection.request("GET", "/_lwa/ready")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            time.sleep(0.02)
        finally:
            connection.close()
    raise RuntimeError("the streaming function did not become ready")
