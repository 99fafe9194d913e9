"""The front door's process: a listener per service in one event loop."""

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator

import httpx
import uvicorn

from localcloud.door.operator import Operator
from localcloud.door.plan import Plan
from localcloud.door.problems import Problem
from localcloud.door.service import ServiceDoor
from localcloud.door.streamed import StreamedApplication
from localcloud.ports import LOOPBACK
from localcloud.state import write_json

READY_FILE = "door-ready.json"
# A buffered method answers within 29 s.
_API_TIMEOUT = httpx.Timeout(40, connect=5)
# How long answers under way may take when the door is asked to end.
DRAIN_SECONDS = 10
_BACKLOG = 128
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _JsonLines(logging.Formatter):
    """One JSON object per line: names, numbers and ids, never content."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Server(uvicorn.Server):
    """One of several in a process, which takes the signals for all."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(port: int) -> list[socket.socket]:
    """Sockets for the port on this machine's own addresses, and on no other."""
    sockets = []
    for host in LOOPBACK:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            opened = socket.socket(family, socket.SOCK_STREAM)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((host, port))
        except OSError:
            # Some machines have no IPv6.
            if host == LOOPBACK[0]:
                raise
            continue
        opened.listen(_BACKLOG)
        opened.setblocking(False)
        sockets.append(opened)
    return sockets


async def serve(plan: Plan) -> None:
    """Serve until a signal says to end; then let answers under way finish."""
    operator = Operator(plan.endpoint)
    applications = {
        function.name: (function.service, StreamedApplication(function, plan, operator))
        for function in plan.streamed
    }
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
    async with httpx.AsyncClient(timeout=_API_TIMEOUT, limits=limits, trust_env=False) as client:
        servers = []
        for service in plan.services:
            door = ServiceDoor(
                service,
                endpoint=plan.endpoint,
                operator=operator,
                client=client,
                streamed=[app for name, app in applications.values() if name == service.name],
            )
            config = uvicorn.Config(
                door,
                http="h11",
                ws="wsproto",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
            servers.append((_Server(config), listen(service.port)))
        _on_signal(servers)
        serving = [asyncio.create_task(server.serve(sockets)) for server, sockets in servers]
        try:
            await _report_ready(plan, applications)
            await asyncio.gather(*serving)
        finally:
            await asyncio.gather(*(application.stop() for _, application in applications.values()))


def _on_signal(servers: list[tuple[_Server, list[socket.socket]]]) -> None:
    def end() -> None:
        for server, _ in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)


async def _report_ready(
    plan: Plan, applications: dict[str, tuple[str, StreamedApplication]]
) -> None:
    """Start the applications and say in a file how that went: `make up` waits for it."""
    failure = None
    for _, application in applications.values():
        try:
            await application.start()
        except Problem as problem:
            failure = problem.detail
    write_json(plan.run / READY_FILE, {"failure": failure})


def main(plan: Plan) -> None:
    """Run the front door with its log on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("localcloud").setLevel(logging.INFO)
    # It reports an answer that an application left incomplete as an error of its own.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    asyncio.run(serve(plan))
