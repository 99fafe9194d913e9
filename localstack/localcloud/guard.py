"""MiniStack behind a guard, run as a script: `python -P guard.py`.

MiniStack lets pages of every origin in (`Access-Control-Allow-Origin: *`) and takes its root's name
for proof of being root, so any page in the person's browser could read the provider keys in the
local Secrets Manager. SDKs, the CDK CLI and functions send none of what browsers send.

MiniStack saves its state only when it is stopped: here it can be told to. And it takes plain HTTP
for what policies mean by a lack of TLS, which would close every bucket and queue that demands it:
what comes by loopback is passed on as secure, as a proxy that ends TLS would.

It saves how far functions have read the streams of tables, and not what the streams hold: after a
restart they would skip as many new changes as they had read old ones. So they begin anew.

And its functions' processes start a few at a time (`localcloud.cold_starts`).
"""

import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

PORTS_VARIABLE = "FRONT_DOOR_PORTS"
SAVE_PATH = "/_localcloud/save"
_NAMES = ("localhost", "127.0.0.1", "[::1]")
_OWN_SITES = {b"none", b"same-origin"}
_PROTOCOL = b"x-forwarded-proto"

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]


class Guard:
    """Answers 403 to what a page of another origin than the front door's has caused."""

    def __init__(
        self,
        application: Application,
        ports: str,
        save: Callable[[], None],
        started: Callable[[], None],
    ) -> None:
        self._application = application
        self._save = save
        self._started = started
        self._origins = {
            f"http://{name}:{port}".encode() for name in _NAMES for port in ports.split(",")
        }

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one request, WebSocket or lifespan."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, self._when_started(send))
        elif not self._admits(scope["headers"]):
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            else:
                await _answer(send, 403)
        elif scope["type"] == "http" and (scope["method"], scope["path"]) == ("POST", SAVE_PATH):
            self._save()
            await _answer(send, 204)
        else:
            secure = [*_without_protocol(scope["headers"]), (_PROTOCOL, b"https")]
            await self._application({**scope, "headers": secure}, receive, send)

    def _when_started(self, send: Any) -> Any:
        async def tell(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._started()
            await send(message)

        return tell

    def _admits(self, headers: list[tuple[bytes, bytes]]) -> bool:
        for name, value in headers:
            lowered = name.lower()
            if lowered == b"origin" and value.lower() not in self._origins:
                return False
            if lowered == b"sec-fetch-site" and value.lower() not in _OWN_SITES:
                return False
            if lowered == b"host" and not _is_loopback(value.decode("latin-1").lower()):
                return False
        return True


def _without_protocol(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() != _PROTOCOL]


async def _answer(send: Any, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _is_loopback(host: str) -> bool:
    """Whether a Host header names this machine: another name means DNS that a page controls."""
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    # The SDKs put a bucket's name before localhost.
    return name in _NAMES or name.endswith(".localhost")


def main() -> None:
    """Run MiniStack with the guard before it."""
    # Not by PYTHONPATH, which the functions would inherit.
    sys.path.append(str(Path(__file__).parents[1]))
    # It reads its environment when imported.
    from ministack import app as ministack  # noqa: PLC0415
    from ministack.core import lambda_runtime  # noqa: PLC0415
    from ministack.services import lambda_svc  # noqa: PLC0415

    from localcloud import cold_starts  # noqa: PLC0415

    cold_starts.limit(lambda_runtime, lambda_svc, max(2, os.cpu_count() or 0))

    def save() -> None:
        ministack.save_all(ministack._build_persistence_save_dict())  # noqa: SLF001

    def started() -> None:
        lambda_svc._dynamodb_stream_positions._data.clear()  # noqa: SLF001

    ministack.app = Guard(ministack.app, os.environ[PORTS_VARIABLE], save, started)
    ministack.main()


if __name__ == "__main__":
    main()
