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
from localcloud.settings import STAGE, WEBSOCKET_PATH

_READ_BYTES = 65_536
# $connect is a function's answer: 29 s at most.
_CONNECT_SECONDS = 40
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
    """Serve one WebSocket until either side closes it; a refused one is closed with its reason.

    Nothing of it is logged: its query holds the ticket.
    """
    await receive()
    request = HttpRequest(
        "GET",
        scope["raw_path"].decode("latin-1"),
        scope["query_string"].decode("latin-1"),
        [(name.lower(), value) for name, value in scope["headers"]],
    )
    if not _passes(request, service.port):
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    if service.websocket_api_id is None:
        await send({"type": "websocket.close", "code": _UNAVAILABLE})
        return
    address = urlsplit(endpoint)
    try:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError:
        await send({"type": "websocket.close", "code": _UNAVAILABLE})
        return
    upstream = _Upstream(WSConnection(ConnectionType.CLIENT), reader, writer)
    target = f"/_aws/execute-api/{service.websocket_api_id}/{STAGE}"
    try:
        if await _accepted(upstream, address.netloc, target, scope, request):
            await send({"type": "websocket.accept", "subprotocol": upstream.subprotocol})
            await _both_ways(upstream, receive, send)
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _passes(request: HttpRequest, port: int) -> bool:
    try:
        rules.check(request, port)
    except Problem:
        return False
    return request.path == WEBSOCKET_PATH


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


async def _accepted(
    upstream: _Upstream, host: str, target: str, scope: Scope, request: HttpRequest
) -> bool:
    """Whether the API accepts the connection."""
    headers: Headers = [pair for pair in request.headers if pair[0] not in _HANDSHAKE]
    handshake = Request(
        host=host,
        target=f"{target}?{request.query}" if request.query else target,
        subprotocols=list(scope.get("subprotocols", [])),
        extra_headers=headers,
    )
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await upstream.send(handshake)
            while True:
                await upstream.receive()
                for event in upstream.connection.events():
                    if isinstance(event, AcceptConnection):
                        upstream.subprotocol = event.subprotocol
                        return True
                    if isinstance(event, RejectConnection | RejectData | CloseConnection):
                        return False
    except (OSError, TimeoutError, RemoteProtocolError):
        return False


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
    pieces: list[TextMessage | BytesMessage] = []
    try:
        while True:
            # First what came together with the acceptance.
            for event in upstream.connection.events():
                # A message comes in as many events as it had pieces on its way.
                if isinstance(event, TextMessage | BytesMessage):
                    pieces.append(event)
                    if event.message_finished:
                        await send(_whole(pieces))
                        pieces.clear()
                elif isinstance(event, Ping):
                    await upstream.send(event.response())
                elif isinstance(event, CloseConnection):
                    code = event.code
                    await upstream.send(event.response())
            if upstream.connection.state is not ConnectionState.OPEN:
                break
            await upstream.receive()
    except (OSError, RemoteProtocolError, LocalProtocolError):
        pass
    # 1005 and 1006 say that no code came over the wire, so they may not be sent.
    await send({"type": "websocket.close", "code": code if code not in {1005, 1006} else 1011})


def _whole(pieces: list[TextMessage | BytesMessage]) -> Message:
    texts = [piece.data for piece in pieces if isinstance(piece, TextMessage)]
    if texts:
        return {"type": "websocket.send", "text": "".join(texts)}
    data = [piece.data for piece in pieces if isinstance(piece, BytesMessage)]
    return {"type": "websocket.send", "bytes": b"".join(data)}
