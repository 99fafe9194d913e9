"""Passes bytes between its clients and an upstream, and looks at none: what the sockets and the
event loop of a gateway cost by themselves. `python -m bench.gateway_relay PORT UPSTREAM_PORT`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

_HOST = "127.0.0.1"


class _Side(asyncio.Protocol):
    """One connection of the two; what it receives goes to the other."""

    def __init__(self, other: asyncio.Transport) -> None:
        self._other = other

    def data_received(self, data: bytes) -> None:
        self._other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._other.abort()


async def _serve(port: int, upstream: int) -> None:
    loop = asyncio.get_running_loop()

    class Client(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport = cast("asyncio.Transport", transport)
            # Nothing is heard until there is somebody to pass it to.
            transport.pause_reading()
            self._joining = loop.create_task(self._join(transport))

        async def _join(self, transport: asyncio.Transport) -> None:
            passed_on, _ = await loop.create_connection(lambda: _Side(transport), _HOST, upstream)
            transport.set_protocol(_Side(passed_on))
            transport.resume_reading()

    server = await loop.create_server(Client, _HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
