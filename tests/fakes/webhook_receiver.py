"""A webhook endpoint on loopback, with the faults that endpoints have."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

from standardwebhooks import Webhook

from tests.fakes.loopback_server import LoopbackServer

_WITHOUT_BODY = frozenset({204, 304})


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    """That it is answered with; 0 where it gets no answer."""

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
        super().__init__(type("Handler", (_Handler,), {"receiver": self}), port)
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
            behaviour = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            received = replace(received, status=0 if behaviour.fault else behaviour.status)
            self.received.append(received)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        self.on_request(received)
        return behaviour

    def done(self) -> None:
        with self._lock:
            self._at_once -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: ClassVar[WebhookReceiver]

    def handle(self) -> None:
        try:
            super().handle()
        except (ssl.SSLError, ConnectionError):
            self.close_connection = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        behaviour = self.receiver.take(Received(self.path, headers, body))
        faults: dict[str, Callable[[], None]] = {
            "close": lambda: None,
            "hang": lambda: self.receiver.hang(self._gone),
            "drip": lambda: self._drip(b"HTTP/1.1 200 OK\r\nx-slow: " + b"a" * 10_000),
            "drip_body": self._drip_body,
            "garbage": lambda: self._write(b"this is not HTTP\r\n\r\n"),
            "many_headers": self._many_headers,
            "huge": self._huge,
        }
        try:
            faults.get(behaviour.fault, lambda: self._tell(behaviour))()
        finally:
            self.receiver.done()
            self.close_connection = True

    def _tell(self, behaviour: Behaviour) -> None:
        self.send_response(behaviour.status)
        for name, value in behaviour.headers.items():
            self.send_header(name, value)
        if behaviour.status not in _WITHOUT_BODY:
            self.send_header("content-length", str(len(behaviour.body)))
        self.end_headers()
        if behaviour.status not in _WITHOUT_BODY:
            self._write(behaviour.body)

    def _drip_body(self) -> None:
        self._write(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n")
        self._drip(b"b" * 9_999)

    def _many_headers(self) -> None:
        self._write(b"HTTP/1.1 200 OK\r\n")
        for number in range(90):
            self._write(b"x-%d: %s\r\n" % (number, b"h" * 5_000))
        self._write(b"\r\n")

    def _huge(self) -> None:
        self._write(b"HTTP/1.1 200 OK\r\n\r\n")
        while self.receiver.pause(0):
            self._write(b"x" * 65_536)

    def _drip(self, content: bytes) -> None:
        for byte in content:
            if not self.receiver.pause(0.02):
                return
            self._write(bytes([byte]))

    def _write(self, content: bytes) -> None:
        self.wfile.write(content)

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
