"""Opaque cursors."""

import base64

import pytest

from servicekit.paging import InvalidCursorError, decode_cursor, encode_cursor


def test_a_cursor_comes_back_and_fits_into_a_url():
    for position in ("", "a#b", "ü/+?&=" * 20):
        cursor = encode_cursor(position, "query")
        assert cursor.replace("-", "").replace("_", "").isalnum()
        assert decode_cursor(cursor, "query") == position


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "é",
        "AAAA",
        encode_cursor("a", "another query"),
        encode_cursor("a", "query")[:-2],
        "=" + encode_cursor("a", "query"),
        *(
            base64.urlsafe_b64encode(content).decode().rstrip("=")
            for content in (b"1", b"[]", b'["a"]', b'{"a":1,"b":2}', b'[1,"x"]', b"[" * 5000)
        ),
    ],
)
def test_anything_else_is_refused(cursor):
    with pytest.raises(InvalidCursorError):
        decode_cursor(cursor, "query")
