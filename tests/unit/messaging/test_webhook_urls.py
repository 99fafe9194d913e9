"""What URLs and addresses pass the wall before the network."""

import pytest

from functions.messaging.adapters.webhook_http import WebhookHttp, allowed
from functions.messaging.domain.webhook_errors import RefusedUrlError
from functions.messaging.domain.webhook_urls import parse

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://hooks.example.com", "hooks.example.com", 443, "/"),
        ("https://Hooks.Example.COM/a?b=c", "hooks.example.com", 443, "/a?b=c"),
        ("https://hooks.example.com:8443/%20", "hooks.example.com", 8443, "/%20"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, "/"),
        ("https://8.8.8.8/", "8.8.8.8", 443, "/"),
        ("https://[2606:4700::1111]:443/x", "2606:4700::1111", 443, "/x"),
    ],
)
def test_usual_urls_are_taken(url, host, port, path):
    target = parse(url, local=False)
    assert (target.host, target.port, target.path) == (host, port, path)


def test_the_host_header_names_a_port_that_is_not_the_usual_one():
    assert parse("https://a.example:8443/", local=False).host_header == "a.example:8443"
    assert parse("https://a.example:443/", local=False).host_header == "a.example"
    assert parse("https://[2606:4700::1]:8443/", local=False).host_header == "[2606:4700::1]:8443"


REFUSED = [
    "",
    "hooks.example.com",
    "http://hooks.example.com/",
    "ftp://hooks.example.com/",
    "file:///etc/passwd",
    "https:///path",
    "https://user@hooks.example.com/",
    "https://user:pass@hooks.example.com/",
    "https://@hooks.example.com/",
    "https://hooks.example.com/#fragment",
    "https://hooks.example.com/#",
    "https://hooks.example.com:0/",
    "https://hooks.example.com:22/",
    "https://hooks.example.com:25/",
    "https://hooks.example.com:80/",
    "https://hooks.example.com:65536/",
    "https://hooks.example.com:/",
    "https://hooks.example.com:x/",
    "https://hooks.example.com\\@evil.example/",
    "https://hooks.example.com/\r\nX: y",
    "https://hooks.example.com/ x",
    "https://hooks.example.com./",
    "https://hooks..example.com/",
    "https://-hooks.example.com/",
    "https://b\u00fccher.example/",
    "https://\u24d4xample.com/",
    "https://127\u30020.0.1/",
    "https://%31%32%37.0.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0x7f.0.0.0x1/",
    "https://a.0x1/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://127.0.0.01/",
    "https://1.2.3.4.5/",
    "https://a.1/",
    "https://256.0.0.1/",
    "https://[::1%25lo]/",
    "https://[fe80::1%eth0]/",
    "https://[::1/",
    "https://::1/",
    "https://[v1.x]/",
    "https://hooks_example.com/",
    "https://" + "a" * 64 + ".example/",
    "https://" + "a." * 130 + "example/",
]


@pytest.mark.parametrize("url", REFUSED)
def test_whatever_may_be_read_in_two_ways_is_refused(url):
    with pytest.raises(RefusedUrlError) as refused:
        parse(url, local=False)
    assert "example" not in refused.value.reason


PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:53aa:64c:0:fbff:80ff:fffe",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2606:4700::1111%eth0",
    "not an address",
    "",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_no_address_but_a_public_one_is_called(address):
    assert not allowed(address, local=False)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "172.32.0.1"])
def test_public_addresses_are_called(address):
    assert allowed(address, local=False)


@pytest.mark.parametrize("address", PRIVATE)
def test_only_loopback_is_added_in_the_local_cloud(address):
    loopback = address.startswith("127.") or address == "::1"
    assert allowed(address, local=True) == loopback


async def test_every_address_of_a_name_has_to_be_public():
    async def resolve(_host, _port):
        return ["8.8.8.8", "1.1.1.1", "10.0.0.1"]

    wall = WebhookHttp(local=False, resolve=resolve)
    with pytest.raises(RefusedUrlError):
        await wall.check("https://hooks.example.com/")
    answered = await wall.post("https://hooks.example.com/", {}, b"")
    assert (answered.error, answered.status) == ("refused_address", None)


@pytest.mark.parametrize("failure", [OSError("unknown"), UnicodeError()])
async def test_a_name_without_an_address_is_refused_and_fails(failure):
    async def resolve(_host, _port):
        raise failure

    wall = WebhookHttp(local=False, resolve=resolve)
    with pytest.raises(RefusedUrlError):
        await wall.check("https://hooks.example.com/")
    assert (await wall.post("https://hooks.example.com/", {}, b"")).error == "dns_failed"


async def test_a_url_that_is_stored_is_looked_at_again():
    answered = await WebhookHttp(local=False).post("http://127.0.0.1:1/", {}, b"")
    assert answered.error == "refused_address"
