"""Server-sent events, by the WHATWG's rules, in whatever pieces the bytes come."""

import random

import pytest

from functions.ai.adapters.sse_reader import SseReader
from functions.ai.domain.errors import ProviderError

STREAM = (
    "\ufeff: a comment\r\n"
    "data: first\r\n\r\n"
    "event: delta\ndata:second\ndata:  with two blanks\n\n"
    "event: alone\n\n"
    "data\n\n"
    "data: Grüße 🙂\u2028an alle\r\r"
    'id: 7\nretry: 10\nunknown: x\ndata: {"a": "b:c"}\n\n'
    "event\ndata: \ndata: \n\n"
    "data: cut off"
)  # fmt: skip
EVENTS = [
    ("message", "first"),
    ("delta", "second\n with two blanks"),
    ("message", ""),
    ("message", "Grüße 🙂\u2028an alle"),
    ("message", '{"a": "b:c"}'),
    ("message", "\n"),
]


def read(pieces, **options):
    reader = SseReader(**options)
    return [event for piece in pieces for event in reader.feed(piece)]


def test_a_whole_stream_in_one_piece():
    assert read([STREAM.encode()]) == EVENTS


def test_every_single_cut():
    data = STREAM.encode()
    for at in range(len(data) + 1):
        assert read([data[:at], data[at:]]) == EVENTS, at


def test_byte_by_byte_and_with_empty_pieces_between():
    data = STREAM.encode()
    assert read([data[at : at + 1] for at in range(len(data))]) == EVENTS
    assert read([part for at in range(len(data)) for part in (b"", data[at : at + 1])]) == EVENTS


def test_random_pieces():
    data = STREAM.encode()
    dice = random.Random(7)
    for _ in range(200):
        cuts = sorted(dice.sample(range(len(data)), 6))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert read(pieces) == EVENTS, cuts


def test_an_event_is_there_with_its_last_byte():
    reader = SseReader()
    assert reader.feed(b"data: a\r\n") == []
    assert reader.feed(b"\r") == [("message", "a")]
    assert reader.feed(b"\n") == []
    assert reader.feed(b"data: b\r\n\r\n") == [("message", "b")]


def test_the_line_feed_of_a_split_crlf_ends_no_event():
    assert read([b"data: a\r", b"", b"\ndata: b\n\n"]) == [("message", "a\nb")]


def test_only_the_first_byte_order_mark_is_left_out():
    mark = b"\xef\xbb\xbf"
    assert read([mark + mark + b"data: a\n\ndata: b\n\n"]) == [("message", "b")]
    assert read([b"data: " + mark + b"a\n\n"]) == [("message", "\ufeffa")]


def test_what_begins_like_a_byte_order_mark_is_kept():
    assert read([b"\xef", b"\xbb: x\ndata: a\n\n"]) == [("message", "a")]


def test_bytes_that_are_no_utf8_are_replaced():
    assert read([b"data: a\xffb\n\n"]) == [("message", "a\ufffdb")]


def test_an_event_type_is_for_one_event():
    assert read([b"event: a\ndata: 1\n\ndata: 2\n\n"]) == [("a", "1"), ("message", "2")]


def test_a_field_needs_its_exact_name():
    assert read([b" data: 1\nDATA: 2\ndatax: 3\n\n"]) == []


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: ", *([b"x" * 10] * 20)],
        [b"data: x\n"] * 20,
        [b"data\n"] * 40,
        [b": ", *([b"x" * 10] * 20)],
    ],
    ids=["a long line", "many lines", "many empty lines", "a long comment"],
)
def test_an_endless_event_is_refused(pieces):
    with pytest.raises(ProviderError):
        read(pieces, max_event_bytes=100)


def test_many_small_events_are_no_large_one():
    events = read([b"data: 1234567890\n\n"] * 50, max_event_bytes=100)
    assert len(events) == 50


def test_comments_take_no_room():
    assert read([b": keep-alive\n"] * 50 + [b"data: a\n\n"], max_event_bytes=100) == [
        ("message", "a")
    ]
