"""Requests to a real server on loopback: signatures, TLS, faults, and where the connection goes."""

import asyncio
import datetime as dt
import ipaddress
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks import WebhookVerificationError

from functions.messaging.adapters import webhook_http
from functions.messaging.adapters.webhook_http import WebhookHttp
from functions.messaging.domain.webhook_signing import Secrets, make_secret, signed_headers
from servicekit.clock import utc_now
from tests.fakes.webhook_receiver import Behaviour, WebhookReceiver

pytestmark = pytest.mark.anyio

NAME = "hooks.example.com"


@pytest.fixture
def receiver():
    with WebhookReceiver() as running:
        yield running


def wall(**fields) -> WebhookHttp:
    return WebhookHttp(**{"local": True, "timeout": 1.0} | fields)


async def to_loopback(_host, _port):
    return ["127.0.0.1"]


async def test_the_receivers_library_takes_what_is_posted(receiver):
    secret, other = make_secret(), make_secret()
    now = utc_now().astimezone(dt.timezone(dt.timedelta(hours=9)))
    body = '{"id":"e","data":{"text":"\u00fc"}}'.encode()
    headers = signed_headers(Secrets(secret), "e", body, now)
    answered = await wall().post(f"{receiver.url}/in?x=1", headers, body)
    assert (answered.status, answered.error) == (204, None)
    (received,) = receiver.received
    assert received.verified(secret) == {"id": "e", "data": {"text": "\u00fc"}}
    with pytest.raises(WebhookVerificationError):
        received.verified(other)
    assert received.path == "/in?x=1"
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert received.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_every_2xx_is_a_success(receiver, status):
    receiver.behaves(Behaviour(status))
    assert (await wall().post(receiver.url, {}, b"")).error is None


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
async def test_no_redirect_is_followed(receiver, status):
    with WebhookReceiver() as elsewhere:
        receiver.behaves(Behaviour(status, {"location": elsewhere.url}))
        answered = await wall().post(receiver.url, {}, b"")
        assert (answered.status, answered.error) == (status, "redirected")
        assert elsewhere.received == []


async def test_the_beginning_of_an_answer_is_kept(receiver):
    receiver.behaves(Behaviour(500, {"retry-after": "17"}, b"no\0\xff\n" + b"x" * 5_000))
    answered = await wall().post(receiver.url, {}, b"")
    assert (answered.status, answered.error, answered.retry_after) == (500, "status_500", 17.0)
    assert answered.answer.startswith("no \ufffd x")
    assert len(answered.answer) == 1024


async def test_nothing_is_decompressed(receiver):
    receiver.behaves(Behaviour(200, {"content-encoding": "gzip"}, b"\x1f\x8b" + b"\0" * 500))
    answered = await wall().post(receiver.url, {}, b"")
    assert (answered.error, answered.answer) == (None, "")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0.0), ("-1", None), ("soon", None), ("1e9", None), ("9" * 5000, 999_999_999.0)],
)
async def test_retry_after_is_seconds_or_nothing(receiver, header, seconds):
    receiver.behaves(Behaviour(503, {"retry-after": header}))
    assert (await wall().post(receiver.url, {}, b"")).retry_after == seconds


async def test_retry_after_may_be_a_date(receiver):
    at = utc_now() + dt.timedelta(seconds=120)
    receiver.behaves(Behaviour(503, {"retry-after": at.strftime("%a, %d %b %Y %H:%M:%S GMT")}))
    answered = await wall().post(receiver.url, {}, b"")
    assert 100 < (answered.retry_after or 0) <= 120


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("hang", "timeout"),
        ("drip", "timeout"),
        ("close", "connection_failed"),
        ("garbage", "invalid_answer"),
        ("many_headers", "invalid_answer"),
        ("huge", None),
        ("drip_body", None),
    ],
)
async def test_faults_have_a_name_and_an_end(receiver, fault, error):
    receiver.behaves(Behaviour(fault=fault))
    answered = await asyncio.wait_for(wall().post(receiver.url, {}, b"{}"), 10)
    assert answered.error == error
    assert len(answered.answer) <= 1024


async def test_a_port_where_nobody_listens(receiver):
    with WebhookReceiver() as gone:
        url = gone.url
    assert (await wall().post(url, {}, b"")).error == "connection_failed"


async def test_a_name_is_resolved_once_and_the_connection_goes_to_that_address(
    receiver, monkeypatch
):
    """Whatever it leads to a moment later."""
    resolved = []

    async def resolve(host, _port):
        resolved.append(host)
        return ["127.0.0.1"] if len(resolved) == 1 else ["169.254.169.254"]

    connected = []
    real = webhook_http.socket.create_connection

    def connect(address, *rest):
        connected.append(address)
        return real(address, *rest)

    monkeypatch.setattr(webhook_http.socket, "create_connection", connect)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    url = f"http://{NAME}:{receiver.port}/"
    one = wall(resolve=resolve)
    assert (await one.post(url, {}, b"")).error is None
    assert resolved == [NAME]
    assert connected == [("127.0.0.1", receiver.port)]
    assert receiver.received[0].headers["host"] == f"{NAME}:{receiver.port}"
    assert (await one.post(url, {}, b"")).error == "refused_address"
    assert len(connected) == 1


async def test_the_next_address_is_tried_when_nobody_listens_at_the_first(receiver):
    async def resolve(_host, _port):
        return ["127.0.0.9", "127.0.0.1"]

    answered = await wall(resolve=resolve).post(f"http://{NAME}:{receiver.port}/", {}, b"")
    assert answered.error is None


async def test_loopback_and_http_are_refused_outside_the_local_cloud(receiver):
    for url in (receiver.url, f"https://{NAME}:{receiver.port}/"):
        answered = await WebhookHttp(local=False, resolve=to_loopback).post(url, {}, b"")
        assert answered.error == "refused_address"
    assert receiver.received == []


async def test_a_name_that_is_not_resolved_in_time():
    async def resolve(_host, _port):
        await asyncio.sleep(60)
        return ["127.0.0.1"]

    one = wall(resolve=resolve, timeout=0.1)
    assert (await one.post(f"http://{NAME}:8080/", {}, b"")).error == "timeout"


async def test_a_header_cannot_bring_another_one(receiver):
    answered = await wall().post(receiver.url, {"webhook-id": "a\r\nx-evil: 1"}, b"")
    assert answered.error == "invalid_answer"
    assert receiver.received == []


_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """A certificate authority of this test's own."""

    def __init__(self, folder) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self._name = name
        self.certificate = (
            self._builder(name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_SIGNS_CERTIFICATES, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(self, subject, key, days=1):
        now = utc_now()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=9))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )

    def server(self, *names, days=1) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        alternatives = x509.SubjectAlternativeName(
            [
                x509.DNSName(name)
                if name[0].isalpha()
                else x509.IPAddress(ipaddress.ip_address(name))
                for name in names
            ]
        )
        certificate = (
            self._builder(subject, key, days)
            .add_extension(alternatives, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self._folder / f"{names[0]}{days}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def client(self) -> ssl.SSLContext:
        pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path)


async def test_the_certificate_is_of_the_name_and_not_of_the_address(authority):
    seen = []
    server = authority.server(NAME)
    server.sni_callback = lambda _socket, name, _context: seen.append(name)
    with WebhookReceiver(tls=server) as receiver:
        one = wall(resolve=to_loopback, tls=authority.client())
        answered = await one.post(f"https://{NAME}:{receiver.port}/", {}, b"{}")
        assert (answered.status, answered.error) == (204, None)
        assert receiver.received[0].body == b"{}"
    assert seen == [NAME]


@pytest.mark.parametrize("wrong", ["name", "expired", "unknown", "address"])
async def test_a_certificate_that_is_not_right_gets_nothing(authority, wrong):
    names = {"name": "other.example.com", "address": "127.0.0.1"}
    server = authority.server(names.get(wrong, NAME), days=-1 if wrong == "expired" else 1)
    client = ssl.create_default_context() if wrong == "unknown" else authority.client()
    with WebhookReceiver(tls=server) as receiver:
        one = wall(resolve=to_loopback, tls=client)
        answered = await one.post(f"https://{NAME}:{receiver.port}/", {}, b"{}")
        assert (answered.status, answered.error) == (None, "tls_failed")
        assert receiver.received == []


async def test_tls_where_none_is_spoken(receiver):
    one = wall(resolve=to_loopback)
    answered = await one.post(f"https://{NAME}:{receiver.port}/", {}, b"{}")
    assert answered.error in {"tls_failed", "timeout"}


async def test_endpoints_that_hang_do_not_keep_others_waiting(receiver):
    receiver.behaves(*[Behaviour(fault="hang")] * 20, Behaviour())
    one = wall()
    all_there = threading.Event()
    receiver.on_request = lambda _: len(receiver.received) < 20 or all_there.set()
    hung = [asyncio.create_task(one.post(receiver.url, {}, b"")) for _ in range(20)]
    await asyncio.to_thread(all_there.wait)
    assert (await one.post(receiver.url, {}, b"")).error is None
    assert {answered.error for answered in await asyncio.gather(*hung)} == {"timeout"}
