"""HTTP/1.1 responses, in whatever pieces the bytes come; what is not clear is refused."""

import pytest

from functions.ai.adapters.http1_reader import (
    MAX_HEAD_BYTES,
    MAX_LINE_BYTES,
    Http1Reader,
    MalformedResponseError,
)

CHUNKED = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    b"Empty:\r\n\r\n"
    b"4\r\nGr\xc3\xbc\r\n0a;name=value\r\n\r\n0\r\n\r\nxyz\r\n0\r\nDigest: none\r\n\r\n"
)
COUNTED = b"HTTP/1.1 429 \r\ncontent-length: 5\r\nRetry-After:  7 \r\n\r\nagain"


def read(*pieces):
    reader = Http1Reader()
    return reader, b"".join(reader.feed(piece) for piece in pieces)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_chunked_response_is_the_same_in_all_pieces(size):
    reader, body = read(*(CHUNKED[at : at + size] for at in range(0, len(CHUNKED), size)))
    assert body == "Grü".encode() + b"\r\n0\r\n\r\nxyz"
    assert reader.done
    assert reader.reusable
    assert reader.head.status == 200
    assert reader.head.reason == b"OK"
    assert list(reader.head.fields) == [
        (b"Content-Type", b"text/event-stream"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Empty", b""),
    ]


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_a_counted_response_ends_at_its_length(size):
    reader, body = read(*(COUNTED[at : at + size] for at in range(0, len(COUNTED), size)))
    assert body == b"again"
    assert reader.done
    assert reader.reusable
    assert reader.head.status == 429
    assert reader.head.reason == b""
    assert (b"Retry-After", b"7") in reader.head.fields


def test_a_response_without_a_length_ends_with_its_connection():
    reader, body = read(b"HTTP/1.1 200 OK\r\n\r\nall", b" of it")
    assert body == b"all of it"
    assert not reader.done
    reader.end()
    assert reader.done
    assert not reader.reusable


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0",
    ],
)
def test_a_response_may_have_no_body(head):
    reader, body = read(head + b"\r\n\r\n")
    assert (reader.done, reader.reusable, body) == (True, True, b"")


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive, Close\r\n\r\nx",
        # Behind the body stands what nobody asked for.
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nHTTP/1.1 200 OK",
    ],
)
def test_no_request_may_follow(response):
    reader, body = read(response)
    assert (reader.done, body) == (True, b"x")
    assert not reader.reusable


def test_what_comes_after_the_end_is_no_body():
    reader, _ = read(COUNTED)
    assert reader.feed(b"HTTP/1.1 200 OK\r\n") == b""
    assert not reader.reusable


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nNo field\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nName : value\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nName: value\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nName: va\nlue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1_0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno field\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * (MAX_LINE_BYTES + 1),
        b"HTTP/1.1 200 OK\r\nName: " + b"x" * MAX_HEAD_BYTES,
    ],
)
def test_what_is_not_clear_is_refused(response):
    with pytest.raises(MalformedResponseError):
        read(response)


@pytest.mark.parametrize("response", [CHUNKED, COUNTED])
def test_a_response_that_is_cut_anywhere_is_no_whole_one(response):
    for end in range(len(response)):
        reader, _ = read(response[:end])
        with pytest.raises(MalformedResponseError):
            reader.end()
        assert not reader.reusable
