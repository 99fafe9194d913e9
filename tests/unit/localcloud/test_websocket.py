"""WebSockets through the front door: frames both ways, refusals, and an API that is not there."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from localcloud.door.plan import ServicePlan
from localcloud.door.service import ServiceDoor

pytestmark = pytest.mark.enable_socket


@contextmanager
def served(application, listener):
    config = uvicorn.Config(
        application,
        http="h11",
        ws="wsproto",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join()


def listening():
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


class Api:
    """A WebSocket API that greets, echoes, and closes when told to."""

    def __init__(self):
        self.scopes = []
        self.left = threading.Event()

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        await receive()
        if b"refuse" in scope["query_string"]:
            await send({"type": "websocket.close", "code": 1008})
            return
        await send({"type": "websocket.accept", "subprotocol": "v1"})
        await send({"type": "websocket.send", "text": "hello"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.left.set()
                return
            if message.get("text") == "close":
                await send({"type": "websocket.close", "code": 4001})
                return
            await send({"type": "websocket.send", "text": message["text"]})


class Client:
    """A WebSocket client of the front door."""

    def __init__(self, port, path, *headers):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.connection = WSConnection(ConnectionType.CLIENT)
        request = Request(
            host=f"localhost:{port}",
            target=path,
            subprotocols=["v1"],
            extra_headers=list(headers),
        )
        self.send(request)

    def send(self, event):
        self.socket.sendall(self.connection.send(event))

    def next(self):
        """The next whole message, or another event."""
        text = ""
        while True:
            for event in self.connection.events():
                if not isinstance(event, TextMessage):
                    return event
                text += event.data
                if event.message_finished:
                    return text
            self.connection.receive_data(self.socket.recv(65_536) or None)


@pytest.fixture
def api():
    return Api()


@pytest.fixture
def connect(api):
    upstream, upstream_port = listening()
    listener, port = listening()
    door = ServiceDoor(
        ServicePlan(name="messaging", health_name="x", port=port, websocket_api_id="ws1"),
        endpoint=f"http://127.0.0.1:{upstream_port}",
        operator=None,
        client=None,
    )
    clients = []

    def make(path="/ws", *headers):
        clients.append(Client(port, path, *headers))
        return clients[-1]

    with served(api, upstream), served(door, listener):
        yield make
        for client in clients:
            client.socket.close()


def test_messages_pass_both_ways_whole(connect, api):
    client = connect("/ws?ticket=1")
    accepted = client.next()
    assert isinstance(accepted, AcceptConnection)
    assert accepted.subprotocol == "v1"
    assert client.next() == "hello"
    long = "x" * 300_000
    client.send(TextMessage(data=long))
    assert client.next() == long
    assert api.scopes[0]["path"] == "/_aws/execute-api/ws1/live"
    assert api.scopes[0]["query_string"] == b"ticket=1"


def test_a_close_passes_with_its_code(connect):
    client = connect()
    client.next()
    client.next()
    client.send(TextMessage(data="close"))
    closed = client.next()
    assert isinstance(closed, CloseConnection)
    assert closed.code == 4001


def test_the_api_hears_of_a_client_that_leaves(connect, api):
    client = connect()
    client.next()
    client.socket.close()
    assert api.left.wait(10)


@pytest.mark.parametrize(
    "header",
    [(b"origin", b"http://evil.example"), (b"X-Amzn-Request-Context", b"{}")],
)
def test_what_a_page_or_a_forger_sends_does_not_reach_the_api(connect, api, header):
    assert isinstance(connect("/ws", header).next(), RejectConnection)
    assert api.scopes == []


def test_a_refusal_of_the_api_is_a_refusal(connect):
    assert isinstance(connect("/ws?refuse").next(), RejectConnection | RejectData)


def test_an_api_that_is_not_there_is_a_refusal():
    listener, port = listening()
    closed, gone = listening()
    closed.close()
    door = ServiceDoor(
        ServicePlan(name="messaging", health_name="x", port=port, websocket_api_id="ws1"),
        endpoint=f"http://127.0.0.1:{gone}",
        operator=None,
        client=None,
    )
    with served(door, listener):
        client = Client(port, "/ws")
        assert isinstance(client.next(), RejectConnection)
        client.socket.close()


@pytest.mark.parametrize("path", ["/", "/ws/", "/wss", "/_aws/execute-api/ws1/live"])
def test_only_its_own_path_leads_to_the_api(connect, api, path):
    assert isinstance(connect(path).next(), RejectConnection)
    assert api.scopes == []


def test_a_ticket_is_in_no_log(connect, caplog):
    caplog.set_level("DEBUG", logger="localcloud")
    client = connect("/ws?ticket=secret")
    assert isinstance(client.next(), AcceptConnection)
    assert isinstance(connect("/elsewhere?ticket=secret").next(), RejectConnection)
    assert "secret" not in caplog.text
