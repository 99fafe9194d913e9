"""The egress wall as a proxy on loopback, spoken to by raw sockets and by an HTTP client."""

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from functions.browser_worker.adapters import egress_proxy
from functions.browser_worker.adapters.egress_proxy import EgressProxy
from functions.browser_worker.domain.egress import Policy, Site, Wall
from tests.fakes.loopback_server import LoopbackServer

pytestmark = pytest.mark.anyio

SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",
    "localhost",
    "localhost.",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
]


class Echo(BaseHTTPRequestHandler):
    """Tells what it got, in the way that the path says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        told = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": len(body),
        }
        if self.path == "/garbage":
            self.wfile.write(b"no HTTP at all\r\n\r\n")
            self.close_connection = True
            return
        content = json.dumps(told).encode() if self.path != "/large" else b"x" * 100_000
        self.send_response(200)
        self.send_header("x-origin", "yes")
        if self.path == "/chunked":
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for part in (content[:10], content[10:]):
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        if self.path == "/until-close":
            self.close_connection = True
        else:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_POST = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def origin():
    with LoopbackServer(Echo) as server:
        yield server


@pytest.fixture
async def wall(origin):
    made = Wall(time.monotonic)
    made.begin(Policy(loopback=(Site.parse(origin.url.removeprefix("http://")),)))
    return made


@pytest.fixture
async def proxy(wall):
    made = EgressProxy(wall)
    made.port = await made.start()
    yield made
    await made.close()


@pytest.fixture
async def client(proxy):
    async with httpx.AsyncClient(proxy=f"http://127.0.0.1:{proxy.port}", timeout=10) as made:
        yield made


async def say(proxy, request: bytes) -> bytes:
    """What a raw client gets until the proxy closes, or says no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(request)
        async with asyncio.timeout(5):
            return await reader.read(-1)
    finally:
        writer.close()


def port_of(server) -> int:
    return int(server.url.rpartition(":")[2])


@pytest.mark.parametrize("path", ["/plain?a=b", "/chunked", "/until-close"])
async def test_a_request_goes_through_as_it_is(client, origin, path):
    answer = await client.get(f"{origin.url}{path}", headers={"x-mine": "1"})
    assert answer.headers["x-origin"] == "yes"
    told = answer.json()
    assert (told["method"], told["path"], told["headers"]["x-mine"]) == ("GET", path, "1")
    assert told["headers"]["host"] == origin.url.removeprefix("http://")
    assert not [name for name in told["headers"] if name.startswith("proxy")]


async def test_requests_follow_each_other_on_one_connection(client, origin):
    for number in range(5):
        answer = await client.get(f"{origin.url}/{number}")
        assert answer.json()["path"] == f"/{number}"


@pytest.mark.parametrize("size", [0, 10, 300_000])
async def test_bodies_go_through_with_a_length_and_in_chunks(client, origin, size):
    answer = await client.post(f"{origin.url}/", content=b"x" * size)
    assert answer.json()["body"] == size

    async def parts():
        for _ in range(3):
            yield b"y" * size

    answer = await client.post(f"{origin.url}/", content=parts())
    assert answer.json()["body"] == 3 * size


async def test_an_answer_without_a_body(client, origin):
    answer = await client.head(f"{origin.url}/")
    assert (answer.status_code, answer.headers["x-origin"]) == (200, "yes")


async def test_a_tunnel_carries_whatever_it_is(proxy, origin):
    port = port_of(origin)
    request = (
        f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n"
        f"GET /tunnel HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    told = await say(proxy, request.encode())
    assert told.startswith(b"HTTP/1.1 200")
    assert b'"/tunnel"' in told


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_of_this_machine_is_reached(proxy, wall, spelling):
    reached = threading.Event()

    class Forbidden(BaseHTTPRequestHandler):
        def setup(self):
            reached.set()
            super().setup()

    with LoopbackServer(Forbidden) as server:
        port = port_of(server)
        # What lists of a project's allow, private addresses are none of.
        sites = [Site.parse(f"{host}:{port}") for host in ("127.0.0.1", "localhost", "[::1]")]
        wall.begin(Policy(listed=sites))
        for request in (
            f"CONNECT {spelling}:{port} HTTP/1.1\r\nhost: x\r\n\r\n",
            f"GET http://{spelling}:{port}/ HTTP/1.1\r\nhost: x\r\n\r\n",
            f"GET http://user@{spelling}:{port}/ HTTP/1.1\r\nhost: example.com\r\n\r\n",
        ):
            told = await say(proxy, request.encode())
            assert told.startswith((b"HTTP/1.1 403", b"HTTP/1.1 502")), told
        assert not reached.is_set()


@pytest.mark.parametrize(
    "request_line",
    [
        "GET / HTTP/1.1",
        "GET https://example.com/ HTTP/1.1",
        "GET ftp://example.com/ HTTP/1.1",
        "GET file:///etc/passwd HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http://a:b:c/ HTTP/1.1",
        "GET http://[::1/ HTTP/1.1",
        "CONNECT example.com HTTP/1.1",
        "CONNECT example.com:0 HTTP/1.1",
        "CONNECT example.com:99999 HTTP/1.1",
        "CONNECT :443 HTTP/1.1",
    ],
)
async def test_what_is_no_web_request_is_refused(proxy, request_line):
    told = await say(proxy, f"{request_line}\r\nhost: example.com\r\n\r\n".encode())
    assert told.startswith(b"HTTP/1.1 403"), told
    assert b"malformed" in told


@pytest.mark.parametrize(
    "request_bytes", [b"\x16\x03\x01\x02", b"nonsense\r\n\r\n", b"x" * 100_000]
)
async def test_what_is_no_http_ends_the_connection(proxy, request_bytes):
    assert await say(proxy, request_bytes + b"\r\n\r\n") == b""


async def test_an_answer_that_is_none_is_told(client, origin):
    answer = await client.get(f"{origin.url}/garbage")
    assert answer.status_code == 502


async def test_a_port_where_nobody_listens(proxy, wall):
    wall.begin(Policy(loopback=(Site.parse("127.0.0.1:1"),)))
    told = await say(proxy, b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nhost: x\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 502")


async def test_a_name_is_looked_up_once_and_its_address_connected_to(wall, origin):
    """Rebinding: the second answer of the name server would be the one that counts."""
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    asked = []

    async def resolve(host, port):
        asked.append((host, port))
        return answers.pop(0)

    wall.begin(Policy(loopback=(Site.parse(f"site.test:{port_of(origin)}"),)))
    proxy = EgressProxy(wall, resolve)
    port = await proxy.start()
    async with httpx.AsyncClient(proxy=f"http://127.0.0.1:{port}") as client:
        assert (await client.get(f"http://site.test:{port_of(origin)}/")).status_code == 200
        assert len(asked) == 1
        answer = await client.get(f"http://site.test:{port_of(origin)}/")
        assert answer.status_code == 403
    await proxy.close()


async def test_a_name_server_that_hangs_holds_nothing_else_up(wall, origin, monkeypatch):
    monkeypatch.setattr(egress_proxy, "LOOK_UP_SECONDS", 0.1)

    async def resolve(host, _port):
        if host == "slow.test":
            await asyncio.sleep(60)
        return ["127.0.0.1"]

    proxy = EgressProxy(wall, resolve)
    port = await proxy.start()
    async with httpx.AsyncClient(proxy=f"http://127.0.0.1:{port}") as client:
        slow = asyncio.create_task(client.get("http://slow.test/"))
        assert (await client.get(f"{origin.url}/")).status_code == 200
        assert (await slow).status_code == 502
    await proxy.close()


async def test_too_many_bytes_end_the_answer(proxy, wall, origin):
    wall.begin(Policy(loopback=(Site.parse(origin.url.removeprefix("http://")),), max_bytes=50_000))
    async with httpx.AsyncClient(proxy=f"http://127.0.0.1:{proxy.port}") as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"{origin.url}/large")
    assert [denial.rule for denial, _ in wall.denials] == ["bytes"]


async def test_open_tunnels_end_with_the_batch(proxy, wall, origin):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(f"CONNECT 127.0.0.1:{port_of(origin)} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    wall.end()
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(5):
        assert await reader.read(-1) == b""
    writer.close()
