"""The reader of event streams, whatever way the bytes are cut."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from contracts.client.sse import MAX_LINE_BYTES, MalformedStreamError, data_lines

STREAM = ': hello\nid: 1\nevent: chunk\ndata: {"a": "é€😀"}\n\ndata:x\n\ndata: [DONE]\n\n'
LINES = ['{"a": "é€😀"}', "x", "[DONE]"]


async def as_chunks(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def read(*parts: bytes) -> list[str]:
    async def collect() -> list[str]:
        return [line async for line in data_lines(as_chunks(parts))]

    return asyncio.run(collect())


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_reads_data_lines_cut_anywhere(line_end: str, size: int) -> None:
    content = STREAM.replace("\n", line_end).encode()
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    # A lone carriage return ends a line only when the next byte is known.
    assert read(*parts, b"\n") == LINES


def test_gives_a_line_as_soon_as_it_is_complete() -> None:
    async def run() -> None:
        sent: list[int] = []

        async def source() -> AsyncIterator[bytes]:
            for number in range(3):
                sent.append(number)
                yield f"data: {number}\n\n".encode()

        lines = data_lines(source())
        assert await anext(lines) == "0"
        assert sent == [0]
        assert await anext(lines) == "1"
        assert sent == [0, 1]

    asyncio.run(run())


def test_skips_what_is_no_data() -> None:
    assert read(b"retry: 10\ndatabase: 1\ndata\n :data: no\ndata: yes\n") == ["", "yes"]


def test_strips_one_space_and_a_leading_byte_order_mark() -> None:
    assert read(b"\xef\xbb\xbfdata:  a \n", b"\xef\xbb\xbfdata: b\n") == [" a "]


def test_drops_an_unfinished_line() -> None:
    assert read(b"data: a\ndata: b") == ["a"]


def test_refuses_an_endless_line() -> None:
    with pytest.raises(MalformedStreamError):
        read(b"data: ", b"x" * MAX_LINE_BYTES)


def test_refuses_what_is_no_utf8() -> None:
    with pytest.raises(MalformedStreamError):
        read(b"data: \xff\n")
