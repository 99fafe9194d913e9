"""What the egress wall lets through, and how much of it."""

import pytest

from functions.browser_worker.domain.egress import (
    BURST,
    MAX_DENIALS,
    RATE_PER_SECOND,
    DeniedError,
    Policy,
    Site,
    Wall,
)


class Timer:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def timer():
    return Timer()


@pytest.fixture
def wall(timer):
    made = Wall(timer)
    made.begin(Policy())
    return made


def rule(wall, host, port, addresses=("8.8.8.8",)):
    """The rule that refuses, or None."""
    try:
        wall.admit(host, port)
        wall.choose(host, port, addresses)
    except DeniedError as error:
        return error.denial.rule
    return None


@pytest.mark.parametrize(
    ("host", "port", "refused"),
    [
        ("example.com", 443, None),
        ("example.com", 80, None),
        ("EXAMPLE.com.", 443, None),
        ("example.com", 22, "port"),
        ("example.com", 8443, "port"),
        ("", 443, "malformed"),
        ("example.com", 0, "malformed"),
        ("example.com", 70_000, "malformed"),
    ],
)
def test_by_default_the_public_web(wall, host, port, refused):
    assert rule(wall, host, port) == refused


@pytest.mark.parametrize(
    "addresses",
    [("127.0.0.1",), ("8.8.8.8", "10.0.0.1"), ("169.254.169.254",), ("::ffff:8.8.8.8",)],
)
def test_every_address_of_a_name_has_to_be_public(wall, addresses):
    assert rule(wall, "example.com", 443, addresses) == "address"


def test_a_list_opens_ports_and_no_private_address(wall):
    wall.begin(Policy(listed=(Site.parse("example.com:8443"), Site.parse("127.0.0.1:9000"))))
    assert rule(wall, "example.com", 8443) is None
    assert rule(wall, "other.com", 443) is None
    assert rule(wall, "127.0.0.1", 9000, ["127.0.0.1"]) == "address"


def test_strict_leaves_the_listed_alone(wall):
    wall.begin(Policy(listed=(Site.parse("*.example.com"), Site.parse("exact.org")), strict=True))
    assert rule(wall, "www.example.com", 443) is None
    assert rule(wall, "a.b.example.com", 80) is None
    assert rule(wall, "exact.org", 443) is None
    for other in ("example.com", "badexample.com", "www.exact.org", "example.com.evil.org"):
        assert rule(wall, other, 443) == "not_listed"
    assert rule(wall, "www.example.com", 8080) == "not_listed"


def test_the_deployment_alone_opens_a_site_of_this_machine(wall):
    wall.begin(Policy(loopback=(Site.parse("127.0.0.1:9000"),)))
    assert rule(wall, "127.0.0.1", 9000, ["127.0.0.1"]) is None
    assert rule(wall, "127.0.0.1", 9000, ["10.0.0.1"]) == "address"
    assert rule(wall, "127.0.0.1", 9001, ["127.0.0.1"]) == "port"
    assert rule(wall, "localhost", 9000, ["127.0.0.1"]) == "port"
    assert rule(wall, "127.0.0.1", 80, ["127.0.0.1"]) == "address"


def test_nothing_passes_before_and_after_a_batch(timer):
    wall = Wall(timer)
    assert rule(wall, "example.com", 443) == "not_listed"
    wall.begin(Policy())
    wall.admit("example.com", 443)
    wall.end()
    with pytest.raises(DeniedError):
        wall.choose("example.com", 443, ["8.8.8.8"])
    with pytest.raises(DeniedError):
        wall.count("example.com", 443, 1)


def test_requests_have_a_rate(wall, timer):
    for _ in range(int(BURST)):
        wall.admit("example.com", 443)
    assert rule(wall, "example.com", 443) == "rate"
    timer.now += 10 / RATE_PER_SECOND
    for _ in range(10):
        wall.admit("example.com", 443)
    assert rule(wall, "example.com", 443) == "rate"


def test_bytes_have_an_end_that_a_new_batch_moves(wall):
    policy = Policy(max_bytes=1000)
    wall.begin(policy)
    wall.count("example.com", 443, 600)
    wall.count("example.com", 443, 400)
    with pytest.raises(DeniedError):
        wall.count("example.com", 443, 1)
    assert rule(wall, "example.com", 443) == "bytes"
    wall.begin(policy)
    assert rule(wall, "example.com", 443) is None


def test_denials_are_told_each_once_with_how_often(wall):
    for _ in range(3):
        rule(wall, "example.com", 22)
    rule(wall, "example.com", 23)
    told = [(denial.host, denial.port, denial.rule, times) for denial, times in wall.denials]
    assert told == [("example.com", 22, "port", 3), ("example.com", 23, "port", 1)]
    wall.begin(Policy())
    assert wall.denials == []


def test_a_page_cannot_fill_the_list_of_denials(wall):
    for number in range(MAX_DENIALS + 50):
        rule(wall, f"{number}.example.com", 22)
    assert len(wall.denials) == MAX_DENIALS


@pytest.mark.parametrize(
    ("text", "host", "ports"),
    [
        ("example.com", "example.com", {80, 443}),
        ("Example.COM:8443", "example.com", {8443}),
        ("*.example.com:443", "*.example.com", {443}),
        ("10.1.2.3:80", "10.1.2.3", {80}),
        ("[2606:4700::1111]:443", "2606:4700::1111", {443}),
        ("localhost:3000", "localhost", {3000}),
    ],
)
def test_sites_are_written_as_hosts_with_ports(text, host, ports):
    assert Site.parse(text) == Site(host, frozenset(ports))


@pytest.mark.parametrize(
    "text",
    ["", "*", "*.*.com", "http://example.com", "example.com/", "example.com:0", "a:99999", "a b"],
)
def test_what_is_no_site_is_refused(text):
    with pytest.raises(ValueError, match="no"):
        Site.parse(text)
