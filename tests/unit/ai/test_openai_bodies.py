"""Bodies that a server of Chat Completions should not send, and what becomes of them."""

import asyncio
import gzip
import json
from contextlib import aclosing

import httpx2
import pytest

from functions.ai.adapters.chat_completions import COMPATIBLE
from functions.ai.adapters.openai import OpenAI
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.provider_keys import NoKey
from functions.ai.domain.errors import (
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from functions.ai.domain.inference import Completion, Prompt
from tests.fakes.prompts import said

pytestmark = pytest.mark.anyio

EVENTS = {"content-type": "text/event-stream"}


def event(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()


ANSWER = event({"content": "Hi"}) + event({}, "stop") + b"data: [DONE]\n\n"


class Body(httpx2.AsyncByteStream):
    """Pieces that come, then an end or none."""

    def __init__(self, *pieces, hangs=False):
        self.pieces = pieces
        self.hangs = hangs
        self.closed = False

    async def __aiter__(self):
        for piece in self.pieces:
            yield piece
        if self.hangs:
            await asyncio.Event().wait()

    async def aclose(self):
        self.closed = True


async def ask(*responses, first_byte=20.0, idle=20.0):
    """The texts, the completion and the requests of an answer of these responses."""
    waiting = list(responses)
    requests = []

    async def answer(request):
        requests.append(request)
        return waiting.pop(0)

    transport = httpx2.MockTransport(answer)
    patience = Patience(first_byte, idle)
    provider = OpenAI("x", "http://host/v1", NoKey(), patience, COMPATIBLE, transport)
    texts, completion = [], None
    try:
        async with aclosing(provider.stream(Prompt("m", (), (said("user", "Hi"),)))) as stream:
            async for heard in stream:
                if isinstance(heard, Completion):
                    completion = heard
                else:
                    texts += heard
    finally:
        await provider.aclose()
    return texts, completion, requests


async def test_the_whole_answer_in_one_piece():
    body = Body(ANSWER)
    texts, completion, (request,) = await ask(httpx2.Response(200, headers=EVENTS, stream=body))
    assert (texts, completion) == (["Hi"], Completion(None))
    assert body.closed
    assert str(request.url) == "http://host/v1/chat/completions"
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["content-type"] == "application/json"


async def test_a_body_that_does_not_end_after_its_last_event_is_left():
    body = Body(ANSWER, hangs=True)
    texts, completion, _ = await ask(httpx2.Response(200, headers=EVENTS, stream=body))
    assert (texts, completion) == (["Hi"], Completion(None))
    assert body.closed


async def test_a_body_without_the_last_event_is_complete_with_its_reason():
    body = Body(event({"content": "Hi"}), event({}, "stop"))
    texts, completion, _ = await ask(httpx2.Response(200, headers=EVENTS, stream=body))
    assert (texts, completion) == (["Hi"], Completion(None))


async def test_a_compressed_body():
    headers = {**EVENTS, "content-encoding": "gzip"}
    packed = gzip.compress(ANSWER)
    body = Body(packed[:20], packed[20:])
    texts, _, _ = await ask(httpx2.Response(200, headers=headers, stream=body))
    assert texts == ["Hi"]


async def test_a_body_that_is_not_compressed_as_it_says():
    headers = {**EVENTS, "content-encoding": "gzip"}
    with pytest.raises(ProviderUnavailableError):
        await ask(httpx2.Response(200, headers=headers, stream=Body(ANSWER)))


@pytest.mark.parametrize("body", [b"", b"<html>Welcome</html>", b'{"choices": []}', b"data: x"])
async def test_a_body_that_is_no_stream(body):
    with pytest.raises(ProviderUnavailableError):
        await ask(httpx2.Response(200, stream=Body(body)))


async def test_an_endless_event(monkeypatch):
    monkeypatch.setattr("functions.ai.adapters.sse_reader.SseReader.__init__.__defaults__", (50,))
    body = Body(b"data: ", *[b"x" * 30] * 5)
    with pytest.raises(ProviderError) as failure:
        await ask(httpx2.Response(200, headers=EVENTS, stream=body))
    assert failure.value.detail == "An event of its stream is too large."
    assert body.closed


async def test_an_error_whose_body_never_ends():
    body = Body(b'{"error"', hangs=True)
    with pytest.raises(ProviderTimeoutError):
        await ask(httpx2.Response(500, stream=body), first_byte=0.2)


async def test_silence_after_text_closes_the_body():
    body = Body(event({"content": "Hi"}), hangs=True)
    with pytest.raises(ProviderTimeoutError):
        await ask(httpx2.Response(200, headers=EVENTS, stream=body), idle=0.1)
    assert body.closed


async def test_nobody_is_followed_to_another_address():
    moved = httpx2.Response(307, headers={"location": "http://elsewhere/v1"})
    with pytest.raises(ProviderError) as failure:
        await ask(moved, httpx2.Response(200, headers=EVENTS, stream=Body(ANSWER)))
    assert type(failure.value) is ProviderError


async def test_nothing_is_retried():
    failed = httpx2.Response(503, headers={"retry-after": "0"}, content=b"{}")
    with pytest.raises(ProviderUnavailableError):
        await ask(failed, httpx2.Response(200, headers=EVENTS, stream=Body(ANSWER)))
