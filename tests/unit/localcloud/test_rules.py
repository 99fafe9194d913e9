"""What the front door refuses before any service sees it."""

import pytest

from localcloud.door import rules
from localcloud.door.http import Request, end_to_end
from localcloud.door.problems import Problem

HOST = (b"host", b"localhost:8001")


def request(method="GET", path="/health", *headers, body=b"", query=""):
    return Request(method, path, query, [HOST, *headers], body)


def refused(check, *arguments):
    with pytest.raises(Problem) as caught:
        check(*arguments)
    return caught.value.status, caught.value.code


@pytest.mark.parametrize("host", [b"localhost:8001", b"127.0.0.1:8001", b"[::1]:8001"])
def test_this_machines_own_names_are_served(host):
    rules.check(Request("GET", "/health", "", [(b"host", host)]), 8001)
    rules.check(
        Request("GET", "/health", "", [(b"host", host), (b"origin", b"http://" + host)]), 8001
    )


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"evil.example")],
        [(b"host", b"localhost")],
        [(b"host", b"localhost:8000")],
        [(b"host", b"localhost:8001.evil.example")],
        [(b"host", b"evil.example:8001")],
        [HOST, (b"host", b"evil.example")],
    ],
)
def test_another_name_for_this_machine_is_refused(headers):
    made = Request("GET", "/health", "", headers)
    assert refused(rules.check, made, 8001) == (403, "foreign_host")


@pytest.mark.parametrize(
    "origin",
    [
        b"http://evil.example",
        b"null",
        b"https://localhost:8001",
        b"http://localhost:8000",
        b"http://localhost:8001.evil.example",
        b"",
    ],
)
def test_a_page_of_another_origin_is_refused(origin):
    made = request("GET", "/health", (b"origin", origin))
    assert refused(rules.check, made, 8001) == (403, "foreign_origin")


@pytest.mark.parametrize("site", [b"cross-site", b"same-site"])
def test_a_page_elsewhere_that_has_it_for_a_picture_is_refused(site):
    made = request("GET", "/health", (b"sec-fetch-site", site))
    assert refused(rules.check, made, 8001) == (403, "foreign_origin")


def test_the_address_bar_and_own_pages_are_served():
    for site in (b"none", b"same-origin"):
        rules.check(request("GET", "/health", (b"sec-fetch-site", site)), 8001)


@pytest.mark.parametrize("name", [b"x-amzn-request-context", b"x-amzn-lambda-context"])
def test_headers_that_the_web_adapter_makes_are_refused(name):
    made = request("POST", "/api/v1/chat", (name, b"{}"))
    assert refused(rules.check, made, 8001) == (400, "forbidden_header")


def test_a_target_with_another_host_is_refused():
    made = request("GET", "http://evil.example/")
    assert refused(rules.check, made, 8001) == (400, "malformed_target")


def test_a_declared_length_over_the_limit_is_refused_unread():
    length = str(rules.BODY_BYTES).encode()
    rules.check(request("POST", "/", (b"content-length", length)), 8001)
    over = str(rules.BODY_BYTES + 1).encode()
    made = request("POST", "/", (b"content-length", over))
    assert refused(rules.check, made, 8001) == (413, "request_too_large")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("types", "body"),
    [
        ([b"application/x-www-form-urlencoded"], b"a=1"),
        ([b"multipart/form-data; boundary=x"], b"--x"),
        ([b"text/plain"], b"{}"),
        ([b"text/plain"], b""),
        ([b"application/json-seq"], b"{}"),
        ([b"application/json", b"text/plain"], b"{}"),
        ([], b"{}"),
    ],
)
def test_a_body_that_does_not_say_json_is_refused(method, types, body):
    made = request(method, "/", *[(b"content-type", kind) for kind in types], body=body)
    assert refused(rules.check_media_type, made) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("types", "body"),
    [
        ([b"application/json"], b"{}"),
        ([b"Application/JSON; charset=utf-8"], b"{}"),
        ([b"application/json"], b""),
        ([], b""),
    ],
)
def test_json_and_nothing_are_served(types, body):
    made = request("POST", "/", *[(b"content-type", kind) for kind in types], body=body)
    rules.check_media_type(made)


def test_a_signature_is_seen_in_the_header_and_in_the_query():
    signed = request("GET", "/", (b"authorization", b"AWS4-HMAC-SHA256 Credential=x"))
    assert rules.is_signed(signed)
    assert rules.is_signed(request(query="a=1&X-Amz-Signature=abc"))
    assert not rules.is_signed(request("GET", "/", (b"authorization", b"Bearer x")))
    assert not rules.is_signed(request(query="a=X-Amz-Signature"))


def test_headers_of_one_connection_are_not_passed_on():
    headers = [
        (b"Connection", b"close, X-Hop"),
        (b"X-Hop", b"1"),
        (b"TE", b"trailers"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Set-Cookie", b"a"),
        (b"Set-Cookie", b"b"),
    ]
    assert end_to_end(headers) == [(b"set-cookie", b"a"), (b"set-cookie", b"b")]
