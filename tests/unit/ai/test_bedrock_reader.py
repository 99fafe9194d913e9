"""The Bedrock adapter over streams that no server would send on demand."""

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from functions.ai.adapters.bedrock import Bedrock
from functions.ai.adapters.patience import Patience
from functions.ai.domain.errors import ProviderTimeoutError, ProviderUnavailableError
from functions.ai.domain.inference import Completion, Prompt
from tests.fakes.prompts import said

pytestmark = pytest.mark.anyio

PROMPT = Prompt("m", (), (said("user", "Hi"),))
STOP = {"messageStop": {"stopReason": "end_turn"}}


class Stream:
    """botocore's event stream, and the client that gives it."""

    def __init__(self, events: Iterable[dict[str, Any]]) -> None:
        self._events = events
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._events)

    def converse_stream(self, **_arguments: Any) -> dict[str, Any]:
        return {"stream": self}

    def close(self) -> None:
        self.closed.set()


def text(said: str) -> dict[str, Any]:
    return {"contentBlockDelta": {"delta": {"text": said}}}


def bedrock(stream: Stream, patience: Patience = Patience(10, 10)) -> Bedrock:  # noqa: B008
    client: Any = stream
    return Bedrock(patience, lambda: client)


async def collect(answer: Any, events: list[Any]) -> None:
    async for event in answer:
        events.append(event)  # noqa: PERF401 - what came before an error counts


async def test_what_is_no_text_is_left_out():
    thought = {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "Hm"}}}}
    stream = Stream([{"messageStart": {}}, thought, text("Hello"), text(""), STOP])
    said: list[Any] = []
    await collect(bedrock(stream).stream(PROMPT), said)
    assert [part for event in said if not isinstance(event, Completion) for part in event] == [
        "Hello"
    ]
    assert said[-1] == Completion(None)
    assert stream.closed.is_set()


async def test_a_stream_that_ends_without_saying_so_broke_off():
    texts: list[Any] = []
    with pytest.raises(ProviderUnavailableError):
        await collect(bedrock(Stream([text("Half")])).stream(PROMPT), texts)
    assert texts == [["Half"]]


async def test_patience_is_another_after_the_first_content():
    go_on = threading.Event()

    def events():
        yield text("Half")
        go_on.wait(20)

    async with asyncio.timeout(5):
        with pytest.raises(ProviderTimeoutError):
            await collect(bedrock(Stream(events()), Patience(20, 0.05)).stream(PROMPT), [])
    go_on.set()


async def test_a_reader_that_nobody_listens_to_stops():
    tick = threading.Event()

    def events():
        while not tick.wait(0.005):
            yield text("more")

    stream = Stream(events())
    async with aclosing(bedrock(stream).stream(PROMPT)) as answer:
        await anext(answer)
    stopped = await asyncio.to_thread(stream.closed.wait, 5)
    tick.set()
    assert stopped
