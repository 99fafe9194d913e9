"""A threaded server on loopback whose answers wait: a while, for a test, until a client leaves."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from socketserver import BaseRequestHandler, ThreadingTCPServer
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"

_POLL_SECONDS = 0.01


class LoopbackServer:
    """Runs in a thread between `with` and its end; `url` is where it listens."""

    def __init__(self, handler: type[BaseRequestHandler], port: int = 0) -> None:
        self._stopped = threading.Event()
        self._steps = threading.Semaphore(0)
        self._server = _Server((HOST, port), handler)
        self.url = f"http://{HOST}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": _POLL_SECONDS}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def step(self, count: int = 1) -> None:
        """Let `count` more chunks out to the stream that was asked to `[[step]]`."""
        self._steps.release(count)

    def forget_steps(self) -> None:
        """A stream that was asked to `[[step]]` begins: what an earlier one left does not count."""
        while self._steps.acquire(blocking=False):
            pass

    def pause(self, seconds: float) -> bool:
        """Wait; False when the server stops meanwhile."""
        return not self._stopped.wait(seconds)

    def wait_for_step(self, gone: Callable[[], bool]) -> bool:
        """Wait for `step`; False when the server stops or the client is gone."""
        while not self._steps.acquire(timeout=_POLL_SECONDS):
            if self._stopped.is_set() or gone():
                return False
        return True

    def hang(self, gone: Callable[[], bool]) -> None:
        """Wait until the server stops or the client is gone."""
        while self.pause(_POLL_SECONDS) and not gone():
            pass


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    # Many conversations begin at once; beyond socketserver's 5 the kernel makes clients wait.
    request_queue_size = 512
    # A hung call ends with the server: its thread sees the stop event, and nobody waits for it.
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client may leave at any time; whatever else goes wrong is the fake's own fault.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
