"""CPU and memory of each AI function from process start to ready, from its bundles alone.

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

from bench.bundles import ENVIRONMENT, build
from bench.figure import Figure
from infra.bundles import NATIVE

_STARTS = 7
_READY_SECONDS = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")
_MEGABYTE = 1024.0

_API = """
import os
import functions.ai.entrypoints.api as api

api.handler
times = os.times()
status = open("/proc/self/status").read()
print(times.user + times.system, status.split("VmHWM:")[1].split()[0])
"""


def measure() -> Iterator[Figure]:
    """CPU seconds and resident megabytes of the API and of the streaming function."""
    with tempfile.TemporaryDirectory() as name:
        folders = dict(build(Path(name), NATIVE))
        code = folders.pop("code")
        layers = [str(folder / "python") for folder in folders.values()]
        interpreter = _bare_interpreter(Path(name))
        environment = {
            **ENVIRONMENT,
            "PATH": f"{interpreter.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([*layers, str(code)]),
            "PYTHONNOUSERSITE": "1",
        }
        starts = {
            "API function": [_api(interpreter, code, environment) for _ in range(_STARTS)],
            "streaming function": [
                _stream(code, environment, Path(name) / f"{n}.sock") for n in range(_STARTS)
            ],
        }
    for name, limit, memory in (
        ("API function", 1.0, None),
        ("streaming function", 0.7, 60.0),
    ):
        cpu = statistics.median(start[0] for start in starts[name])
        resident = max(start[1] for start in starts[name])
        yield Figure(f"{name}: CPU from process start to ready", cpu, "s", limit)
        yield Figure(f"{name}: memory when ready", resident, "MB", memory)


def _bare_interpreter(folder: Path) -> Path:
    """A `python` that sees none of this environment's packages."""
    binary = folder / "bin" / "python"
    binary.parent.mkdir()
    binary.symlink_to(Path(sys._base_executable).resolve())  # type: ignore[attr-defined]  # noqa: SLF001
    return binary


def _api(interpreter: Path, code: Path, environment: dict[str, str]) -> tuple[float, float]:
    output = subprocess.run(
        [interpreter, "-c", _API],
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
