"""WebSockets, passed through to the service's WebSocket API frame by frame."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.typing import Headers
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from localcloud.door import rules
from localcloud.door.http import Message, Receive, Scope, Send
from localcloud.door.http import Request as HttpRequest
from localcloud.door.plan import ServicePlan
from localcloud.door.problems import Problem
from localcloud.settings import STAGE

_READ_BYTES = 65_536
_POLICY_VIOLATION = 1008
_UNAVAILABLE = 1013
# Made anew by each side of the proxy.
_HANDSHAKE = frozenset(
    {
        b"connection",
        b"host",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"upgrade",
    }
)


async def relay(
    service: ServicePlan, endpoint: str, scope: Scope, receive: Receive, send: Send
) -> None:
    """Serve one WebSocket until either side closes it; a refused one is closed with its reason."""
    await receive()
    request = HttpRequest(
        "GET",
        scope["raw_path"].decode("latin-1"),
        scope["query_string"].decode("latin-1"),
        [(name.lower(), value) for name, value in scope["headers"]],
    )
    try:
        rules.check_origin(request, service.port)
    except Problem:
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    if service.websocket_api_id is None:
        await send({"type": "websocket.close", "code": _UNAVAILABLE})
        return
    upstream = await _connect(endpoint, service.websocket_api_id, scope, request)
    if upstream is None:
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    try:
        await send({"type": "websocket.accept", "subprotocol": upstream.subprotocol})
        await _both_ways(upstream, receive, send)
    finally:
        upstream.writer.close()
        with suppress(OSError):
            await upstream.writer.wait_closed()


@dataclass
class _Upstream:
    connection: WSConnection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    subprotocol: str | None = None

    async def send(self, event: Event) -> None:
        self.writer.write(self.connection.send(event))
        await self.writer.drain()

    async def receive(self) -> None:
        data = await self.reader.read(_READ_BYTES)
        self.connection.receive_data(data or None)


async def _connect(
    endpoint: str, api_id: str, scope: Scope, request: HttpRequest
) -> _Upstream | None:
    """A connection that the API accepted; None when it refused."""
    address = urlsplit(endpoint)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    upstream = _Upstream(WSConnection(ConnectionType.CLIENT), reader, writer)
    target = f"/_aws/execute-api/{api_id}/{STAGE}"
    if request.query:
        target = f"{target}?{request.query}"
    headers: Headers = [pair for pair in request.headers if pair[0] not in _HANDSHAKE]
    await upstream.send(
        Request(
            host=address.netloc,
            target=target,
            subprotocols=list(scope.get("subprotocols", [])),
            extra_headers=headers,
        )
    )
    try:
        while True:
            await upstream.receive()
            for event in upstream.connection.events():
                if isinstance(event, AcceptConnection):
                    upstream.subprotocol = event.subprotocol
                    return upstream
                if isinstance(event, RejectConnection | RejectData | CloseConnection):
                    writer.close()
                    return None
    except RemoteProtocolError:
        writer.close()
        return None


async def _both_ways(upstream: _Upstream, receive: Receive, send: Send) -> None:
    directions = {
        asyncio.create_task(_to_upstream(upstream, receive)),
        asyncio.create_task(_to_client(upstream, send)),
    }
    _, pending = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*directions, return_exceptions=True)


async def _to_upstream(upstream: _Upstream, receive: Receive) -> None:
    while True:
        message: Message = await receive()
        if message["type"] == "websocket.disconnect":
            with suppress(LocalProtocolError, OSError):
                await upstream.send(CloseConnection(code=message.get("code") or 1000))
            return
        text = message.get("text")
        if text is not None:
            await upstream.send(TextMessage(data=text))
        else:
            await upstream.send(BytesMessage(data=message["bytes"]))


async def _to_client(upstream: _Upstream, send: Send) -> None:
    code = 1006
    try:
        while upstream.connection.state is ConnectionState.OPEN:
            await upstream.receive()
            for event in upstream.connection.events():
                if isinstance(event, TextMessage):
                    await send({"type": "websocket.send", "text": event.data})
                elif isinstance(event, BytesMessage):
                    await send({"type": "websocket.send", "bytes": bytes(event.data)})
                elif isinstance(event, Ping):
                    await upstream.send(event.response())
                elif isinstance(event, CloseConnection):
                    code = event.code
                    await upstream.send(event.response())
    except (OSError, RemoteProtocolError, LocalProtocolError):
        pass
    # 1005 and 1006 say that no code came over the wire, so they may not be sent.
    await send({"type": "websocket.close", "code": code if code not in {1005, 1006} else 1011})
