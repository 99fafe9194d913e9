"""What URLs and addresses pass the wall before the network."""

import pytest

from functions.messaging.adapters.webhook_http import WebhookHttp
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
