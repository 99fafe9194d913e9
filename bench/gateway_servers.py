"""The processes of the gateway's measure: the upstream, the AI service, and the LiteLLM proxy."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit

from bench.bundles import AI

ROOT = Path(__file__).resolve().parent.parent
LITELLM = "1.108.7"
"""Of LiteLLM: the newest one when this was written."""
LITELLM_KEY = f"sk-{token_hex(16)}"
"""What it admits callers by: without one it does not start."""
OPENAI_MODEL = "gpt-6.1-terra"
ANTHROPIC_MODEL = "claude-haiku-5-5"
TABLE = "bench"

_LITELLM_FOLDER = ROOT / ".local" / f"litellm-{LITELLM}"
_START_SECONDS = 90.0
_NANOSECONDS = 1e9
_APP = "functions.ai.entrypoints.stream:app"
_OWN_APP = "bench.gateway_app:app"


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves at `url`."""

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """What the process has used so far, all its threads together."""
        # In nanoseconds, where `stat` has hundredths of a second.
        threads = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / _NANOSECONDS


@contextmanager
def upstream() -> Iterator[Server]:
    """The scripted providers."""
    port = _free_port()
    command = [sys.executable, "-m", "tests.fakes.provider_server", "--port", str(port)]
    with _serving(command, port, {"PYTHONPATH": _path()}) as server:
        yield server


@contextmanager
def relay(upstream_url: str) -> Iterator[Server]:
    """What passes the upstream's bytes on, and does no more."""
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "bench.gateway_relay",
        str(port),
        str(urlsplit(upstream_url).port),
    ]
    with _serving(command, port, {"PYTHONPATH": _path()}) as server:
        yield server


@contextmanager
def service(upstream_url: str, endpoint: str | None = None) -> Iterator[Server]:
    """The streaming function, served as it is deployed; stored at the endpoint, or in memory."""
    port = _free_port()
    script = (ROOT / "functions/ai/stream.sh").read_text()
    if _APP not in script:
        raise RuntimeError(f"stream.sh does not serve {_APP}.")
    environment = {
        **AI.environment,
        # Lambda has it, too, and botocore reads this one.
        "AWS_DEFAULT_REGION": AI.environment["AWS_REGION"],
        "AWS_LWA_PORT": str(port),
        "LAMBDA_TASK_ROOT": str(ROOT),
        "PYTHONPATH": _path(),
        "TABLE_NAME": TABLE,
        "OPENAI_URL": f"{upstream_url}/v1",
        "ANTHROPIC_URL": upstream_url,
        # Its lines would be all that is printed.
        "POWERTOOLS_LOG_LEVEL": "WARNING",
    }
    if endpoint is not None:
        environment["AWS_ENDPOINT_URL"] = endpoint
    command = ["sh", "-c", script.replace(_APP, _OWN_APP)]
    with _serving(command, port, environment, "/_lwa/ready") as server:
        yield server


@contextmanager
def litellm(upstream_url: str) -> Iterator[Server]:
    """The LiteLLM proxy as its guide for production has it: one worker, no debugging, no database,
    errors alone in the log.
    """
    binary = _install_litellm()
    port = _free_port()
    models = [
        (OPENAI_MODEL, f"openai/{OPENAI_MODEL}", f"{upstream_url}/v1"),
        (ANTHROPIC_MODEL, f"anthropic/{ANTHROPIC_MODEL}", upstream_url),
    ]
    config = {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {"model": model, "api_base": base, "api_key": "bench"},
            }
            for name, model, base in models
        ],
        "litellm_settings": {"set_verbose": False, "json_logs": True, "telemetry": False},
    }
    with tempfile.TemporaryDirectory() as folder:
        # JSON is YAML.
        path = Path(folder) / "config.yaml"
        path.write_text(json.dumps(config))
        environment = {
            "HOME": folder,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "LITELLM_MASTER_KEY": LITELLM_KEY,
            "LITELLM_MODE": "PRODUCTION",
        }
        command = [str(binary), "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--num_workers", "1"]
        with _serving(command, port, environment, "/health/liveliness") as server:
            yield server


def _install_litellm() -> Path:
    """Its command, in an environment of its own."""
    binary = _LITELLM_FOLDER / "bin" / "litellm"
    if not binary.exists():
        uv = [sys.executable, "-m", "uv"]
        python = _LITELLM_FOLDER / "bin" / "python"
        make = [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(_LITELLM_FOLDER)]
        subprocess.run(make, check=True)
        package = f"litellm[proxy]=={LITELLM}"
        install = [*uv, "pip", "install", "--quiet", "--python", str(python), package]
        subprocess.run(install, check=True)
    return binary


@contextmanager
def _serving(
    command: list[str], port: int, environment: Mapping[str, str], ready: str | None = None
) -> Iterator[Server]:
    """The process while the block runs; `ready` is what answers once it serves."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, port, ready)
        yield Server(url, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, ready: str | None) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if ready is None:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            else:
                opener.open(f"http://127.0.0.1:{port}{ready}", timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not serve.")


def _path() -> str:
    return os.pathsep.join(str(ROOT / part) for part in ("", "layers/common/python"))


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port
