"""A page that attacks whatever must not be reached, and servers that tell whether it was.

`VECTORS` are the ways: thirteen over HTTP or WebSocket, and one over UDP (STUN, of WebRTC).
"""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler
from typing import ClassVar, Self
from urllib.parse import parse_qs, urlsplit

from tests.fakes.loopback_server import LoopbackServer

VECTORS = (
    "navigation",
    "iframe",
    "image",
    "script",
    "fetch",
    "redirect",
    "worker",
    "shared-worker",
    "prefetch",
    "websocket",
    "event-source",
    "form",
    "popup",
    "udp",
)

_PAGE = """<!doctype html><title>hostile</title>
<script>
const target = %(target)s, udp = %(udp)s;
const at = (vector) => `${target}/${vector}`;
const via = (vector) => '/redirect?to=' + encodeURIComponent(at(vector));
const add = (name, fields) => document.body.appendChild(
  Object.assign(document.createElement(name), fields));
const attempts = {
  iframe() { add('iframe', {src: at('iframe')}); },
  image() { new Image().src = at('image'); },
  script() { add('script', {src: at('script')}); },
  fetch() { fetch(at('fetch'), {mode: 'no-cors'}); },
  redirect() { fetch(via('redirect'), {mode: 'no-cors'}); },
  worker() { new Worker('/worker.js?url=' + encodeURIComponent(at('worker'))); },
  'shared-worker'() {
    new SharedWorker('/worker.js?url=' + encodeURIComponent(at('shared-worker')));
  },
  prefetch() {
    const rules = {prefetch: [{source: 'list', urls: [via('prefetch')]}]};
    add('script', {type: 'speculationrules', textContent: JSON.stringify(rules)});
  },
  websocket() { new WebSocket(target.replace('http:', 'ws:') + '/websocket'); },
  'event-source'() { new EventSource(at('event-source')); },
  form() {
    add('iframe', {name: 'form'});
    add('form', {action: at('form'), method: 'post', target: 'form'}).submit();
  },
  popup() { window.open(at('popup')); },
  async udp() {
    const c = new RTCPeerConnection({iceServers: [{urls: 'stun:' + udp}]});
    c.createDataChannel('x'); await c.setLocalDescription(await c.createOffer());
  },
};
addEventListener('load', () => {
  for (const attempt of Object.values(attempts))
    try { attempt(); } catch (e) { console.log(e.message); }
  document.title = 'attacked';
});
</script><body></body>"""


class InternalServer(LoopbackServer):
    """What must not be reached: notes the path of each request, and that anything connected."""

    def __init__(self) -> None:
        super().__init__(type("Handler", (_InternalHandler,), {"server_of": self}))
        self.reached: set[str] = set()
        self.port: int = self._server.server_address[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self._udp.settimeout(0.1)
        self.udp_port: int = self._udp.getsockname()[1]
        self._listening = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._listening.start()
        return super().__enter__()

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                if self._udp.recvfrom(2048):
                    self.reached.add("udp")
            except TimeoutError:
                continue
        self._udp.close()


class _InternalHandler(BaseHTTPRequestHandler):
    server_of: ClassVar[InternalServer]

    def setup(self) -> None:
        super().setup()
        self.server_of.reached.add("connection")

    def do_GET(self) -> None:
        self.server_of.reached.add(self.path.strip("/"))
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", "6")
        self.end_headers()
        self.wfile.write(b"secret")

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


class HostileSite(LoopbackServer):
    """Serves the page at `/`; it attacks `target`, or what `?target=` says."""

    def __init__(self, internal: InternalServer) -> None:
        super().__init__(type("Handler", (_SiteHandler,), {"internal": internal}))
        self.port: int = self._server.server_address[1]


class _SiteHandler(BaseHTTPRequestHandler):
    internal: ClassVar[InternalServer]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/redirect":
            self.send_response(302)
            self.send_header("location", self._argument("to"))
            self.send_header("content-length", "0")
            self.end_headers()
        elif parts.path == "/worker.js":
            self._tell(
                "text/javascript",
                f"fetch({json.dumps(self._argument('url'))}, {{mode: 'no-cors'}})",
            )
        elif parts.path == "/":
            target = self._argument("target") or self.internal.url
            udp = f"127.0.0.1:{self.internal.udp_port}"
            self._tell("text/html", _PAGE % {"target": json.dumps(target), "udp": json.dumps(udp)})
        else:
            self._tell("text/plain", "nothing")

    def _argument(self, name: str) -> str:
        return parse_qs(urlsplit(self.path).query).get(name, [""])[0]

    def _tell(self, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""
