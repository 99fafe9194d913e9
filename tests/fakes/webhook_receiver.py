"""A webhook endpoint on loopback, with the faults that endpoints have."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from standardwebhooks import Webhook

from tests.fakes.loopback_server import LoopbackServer


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)

    def verified(self, secret: str) -> Any:
        """The event, checked by the library that receivers use. Raises its error."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass(frozen=True)
class Behaviour:
    """How one request is answered: `status` and `body`, or a fault."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    fault: str = ""


class WebhookReceiver(LoopbackServer):
    """Answers each request with the next of `script`, and with its last one from then on."""

    def __init__(
        self,
        script: Sequence[Behaviour] = (Behaviour(),),
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(self._handler(), port)
        self.received: list[Received] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self.script = list(script)
        self.on_request: Callable[[Received], None] = lambda _: None
        self.port = self._server.server_address[1]
        if tls is not None:
            # The handshake is the request thread's, so that one that fails stops nobody else.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def ids(self) -> list[str]:
        return [received.headers["webhook-id"] for received in self.received]

    def behaves(self, *script: Behaviour) -> None:
        """From the next request on."""
        self.script = list(script)

    def take(self, received: Received) -> Behaviour:
        with self._lock:
            self.received.append(received)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            behaviour = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.on_request(received)
        return behaviour

    def done(self) -> None:
        with self._lock:
            self._at_once -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                try:
                    super().handle()
                except (ssl.SSLError, ConnectionError):
                    self.close_connection = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                behaviour = receiver.take(Received(self.path, headers, body))
                try:
                    self._answer(behaviour)
                finally:
                    receiver.done()
                    self.close_connection = True

            def _answer(self, behaviour: Behaviour) -> None:
                match behaviour.fault:
                    case "close":
                        return
                    case "hang":
                        receiver.hang(self._gone)
                    case "slow":
                        receiver.pause(0.2)
                        self._tell(behaviour)
                    case "drip":
                        self._drip(b"HTTP/1.1 200 OK\r\nx-slow: " + b"a" * 10_000)
                    case "drip_body":
                        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n")
                        self._drip(b"b" * 9_999)
                    case "garbage":
                        self.wfile.write(b"this is not HTTP\r\n\r\n")
                    case "many_headers":
                        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                        for number in range(90):
                            self.wfile.write(b"x-%d: %s\r\n" % (number, b"h" * 5_000))
                        self.wfile.write(b"\r\n")
                    case "huge":
                        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                        while not self._gone():
                            self.wfile.write(b"x" * 65_536)
                    case _:
                        self._tell(behaviour)

            def _tell(self, behaviour: Behaviour) -> None:
                self.send_response(behaviour.status)
                for name, value in behaviour.headers.items():
                    self.send_header(name, value)
                if behaviour.status != 204:
                    self.send_header("content-length", str(len(behaviour.body)))
                self.end_headers()
                if behaviour.status != 204:
                    self.wfile.write(behaviour.body)

            def _drip(self, content: bytes) -> None:
                for byte in content:
                    if not receiver.pause(0.02):
                        return
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()

            def _gone(self) -> bool:
                try:
                    self.connection.settimeout(0.001)
                    return self.connection.recv(1) == b""
                except TimeoutError:
                    return False
                except OSError:
                    return True

            def log_message(self, *_arguments: Any) -> None:
                """Says nothing."""

        return Handler


__all__ = ["Behaviour", "Received", "WebhookReceiver"]
