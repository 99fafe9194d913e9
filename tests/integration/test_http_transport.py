"""The SDKs' transport over real sockets: its connections, and what becomes of them."""

import asyncio
import datetime as dt
import gzip
import ipaddress
import ssl
from contextlib import asynccontextmanager, suppress

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from functions.ai.adapters.http_transport import MAX_UNREAD_BYTES, HttpTransport
from functions.ai.adapters.pieces import PIECES, pieces_of

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Server:
    """Answers what `answer` writes; `asked` are the requests, each with its connection's number."""

    def __init__(self):
        self.asked = []
        self.connections = 0
        self.left = asyncio.Event()
        self.url = ""

    async def answer(self, writer):
        writer.write(OK)

    async def handle(self, reader, writer):
        self.connections += 1
        number = self.connections
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.lower().splitlines()
                        if line.startswith(b"content-length:")
                    ),
                    0,
                )
                self.asked.append((number, head, await reader.readexactly(length)))
                await self.answer(writer)
                if writer.is_closing():
                    break
        self.left.set()
        writer.close()


@asynccontextmanager
async def serving(tls=None):
    server = Server()
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"http{'s' if tls else ''}://127.0.0.1:{port}/v1/chat?a=%20b"
    try:
        yield server
    finally:
        listening.close()


@pytest.fixture
async def server():
    async with serving() as server:
        yield server


@pytest.fixture
async def client():
    async with make_client() as client:
        yield client


def make_client(kept_seconds=60, tls=None, connect=5):
    transport = HttpTransport(kept_seconds, tls)
    return httpx2.AsyncClient(transport=transport, timeout=httpx2.Timeout(None, connect=connect))


async def test_a_request_is_sent_as_it_is_and_its_connection_used_again(server, client):
    for body in (b"{}", b'{"a": "b"}'):
        answer = await client.post(server.url, content=body, headers={"X-Name": "value"})
        assert (answer.status_code, answer.text, answer.reason_phrase) == (200, "ok", "OK")
    assert [(number, body) for number, _, body in server.asked] == [(1, b"{}"), (1, b'{"a": "b"}')]
    head = server.asked[0][1]
    assert head.startswith(b"POST /v1/chat?a=%20b HTTP/1.1\r\n")
    assert b"\r\nX-Name: value\r\n" in head


async def test_requests_at_once_have_connections_of_their_own(server, client):
    answers = await asyncio.gather(*(client.post(server.url) for _ in range(3)))
    assert [answer.text for answer in answers] == ["ok"] * 3
    assert server.connections == 3
    await client.post(server.url)
    assert server.connections == 3


async def test_pieces_are_handed_on_as_they_come(server, client):
    go = asyncio.Event()

    async def answer(writer):
        writer.write(STREAM + b"3\r\none\r\n")
        await go.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    server.answer = answer
    async with client.stream("POST", server.url) as response:
        pieces = response.aiter_bytes()
        assert await anext(pieces) == b"one"
        go.set()
        assert await anext(pieces) == b"two"
        assert await anext(pieces, None) is None
    await client.post(server.url)
    assert server.connections == 1


async def test_a_reader_waits_until_its_deadline_and_no_longer(server, client):
    go = asyncio.Event()

    async def answer(writer):
        writer.write(STREAM + b"3\r\none\r\n")
        await go.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    server.answer = answer
    clock = asyncio.get_running_loop().time
    async with client.stream("POST", server.url) as response:
        pieces = pieces_of(response)
        assert pieces is response.extensions[PIECES]
        assert await pieces.next(clock() + 60) == b"one"
        # An earlier deadline than the one before, and one that is over.
        for seconds in (0.02, -1):
            with pytest.raises(TimeoutError):
                await pieces.next(clock() + seconds)
        # The timer of a wait that had its news in time does not end a later one.
        later = asyncio.create_task(pieces.next(clock() + 0.05))
        await asyncio.sleep(0)
        go.set()
        assert await later == b"two"
        assert await pieces.next(clock() + 60) is None
    await client.post(server.url)
    assert server.connections == 1


async def test_a_wait_outlives_the_timer_of_an_earlier_one(server, client):
    go = asyncio.Event()

    async def answer(writer):
        writer.write(STREAM + b"3\r\none\r\n")
        await go.wait()
        writer.write(b"3\r\ntwo\r\n")
        await asyncio.sleep(0.2)
        writer.write(b"5\r\nthree\r\n0\r\n\r\n")

    server.answer = answer
    clock = asyncio.get_running_loop().time
    async with client.stream("POST", server.url) as response:
        pieces = pieces_of(response)
        assert await pieces.next(clock() + 60) == b"one"
        first = asyncio.create_task(pieces.next(clock() + 0.1))
        await asyncio.sleep(0)
        go.set()
        assert await first == b"two"
        assert await pieces.next(clock() + 60) == b"three"


async def test_a_compressed_answer_is_read_by_the_client_itself(server, client):
    packed = gzip.compress(b"one")

    async def answer(writer):
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(packed) + packed)

    server.answer = answer
    async with client.stream("POST", server.url) as response:
        pieces = pieces_of(response)
        assert await pieces.next(asyncio.get_running_loop().time() + 60) == b"one"


async def test_an_answer_that_nobody_reads_on_ends_its_connection(server, client):
    async def answer(writer):
        writer.write(STREAM + b"3\r\none\r\n")

    server.answer = answer
    async with client.stream("POST", server.url) as response:
        await anext(response.aiter_bytes())
    async with asyncio.timeout(5):
        await server.left.wait()
    del server.answer
    await client.post(server.url)
    assert server.connections == 2


async def test_a_cancelled_request_ends_its_connection(server, client):
    async def answer(writer):
        await asyncio.sleep(0)

    server.answer = answer
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.post(server.url)
    async with asyncio.timeout(5):
        await server.left.wait()


async def test_a_server_waits_for_a_slow_reader(server, client):
    size = 64 * MAX_UNREAD_BYTES
    sent = 0

    async def answer(writer):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(64):
            writer.write(b"x" * MAX_UNREAD_BYTES)
            await writer.drain()
            sent += MAX_UNREAD_BYTES

    server.answer = answer
    async with client.stream("POST", server.url) as response:
        seen = -1
        while seen != sent:
            seen = sent
            await asyncio.sleep(0.3)
        # What the two kernels' buffers and this side hold: far from all of it.
        assert sent < size
        assert len(await response.aread()) == size


@pytest.mark.parametrize("said", [b"", STREAM[:20], STREAM, STREAM + b"5\r\non"])
async def test_a_connection_that_ends_too_early(server, client, said):
    async def answer(writer):
        writer.write(said)
        writer.close()

    server.answer = answer
    with pytest.raises(httpx2.RemoteProtocolError):
        await client.post(server.url)


async def test_what_is_no_response_ends_the_connection(server, client):
    async def answer(writer):
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")

    server.answer = answer
    with pytest.raises(httpx2.RemoteProtocolError):
        await client.post(server.url)
    async with asyncio.timeout(5):
        await server.left.wait()


async def test_a_connection_that_its_server_closed_is_not_used_again(server, client):
    async def answer(writer):
        writer.write(OK)
        await writer.drain()
        writer.close()

    server.answer = answer
    await client.post(server.url)
    async with asyncio.timeout(5):
        await server.left.wait()
    # Without a round of the event loop in between, as after a freeze.
    assert (await client.post(server.url)).text == "ok"
    assert server.connections == 2


async def test_an_old_connection_is_not_used_again(server):
    async with make_client(kept_seconds=0) as client:
        await client.post(server.url)
        await client.post(server.url)
    assert server.connections == 2


async def test_closing_ends_the_idle_connections(server):
    async with make_client() as client:
        await client.post(server.url)
    async with asyncio.timeout(5):
        await server.left.wait()


async def test_an_answer_that_outlasts_its_client_ends_its_connection(server):
    client = make_client()
    request = client.build_request("POST", server.url)
    response = await client.send(request, stream=True)
    await client.aclose()
    assert await response.aread() == b"ok"
    async with asyncio.timeout(5):
        await server.left.wait()


async def test_nobody_is_there(server, client):
    port = server.url.split(":")[2].split("/")[0]
    with pytest.raises(httpx2.ConnectError):
        await client.post(f"http://127.0.0.2:{port}/")


async def test_headers_that_would_be_others_are_not_sent(server, client):
    with pytest.raises(httpx2.LocalProtocolError):
        await client.post(server.url, headers={"X-Name": "a\r\nX-Other: b"})
    with pytest.raises(httpx2.UnsupportedProtocol):
        await client.post("ftp://127.0.0.1/")
    assert server.asked == []


async def test_a_request_tells_that_it_made_a_connection(server, client):
    told = []

    async def trace(event, _info):
        told.append(event)

    for _ in range(2):
        await client.post(server.url, extensions={"trace": trace})
    assert told == ["connection.connect_tcp.started"]


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(pem)
    )
    return path


async def test_tls_is_checked(tmp_path):
    path = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(path)
    async with serving(tls) as server:
        async with make_client(tls=ssl.create_default_context(cafile=str(path))) as client:
            assert (await client.post(server.url)).text == "ok"
            assert (await client.post(server.url)).text == "ok"
        assert server.connections == 1
        async with make_client() as client:
            with pytest.raises(httpx2.ConnectError, match="certificate"):
                await client.post(server.url)
        assert len(server.asked) == 2
