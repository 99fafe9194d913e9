"""CPU that the adapter of Chat Completions spends on a streamed chunk, without a network.

Each chunk comes as a piece of its own, as it does from a model; beside it the SDK's own reading of
the same bytes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import httpx2

from bench.figure import Figure
from functions.ai.adapters.chat_completions import OPENAI
from functions.ai.adapters.openai import OpenAI
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.provider_keys import NoKey
from functions.ai.domain.inference import Prompt, Text, Utterance

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_CHUNKS = 5_000
_RUNS = 5
_URL = "http://127.0.0.1/v1"
_MICROSECONDS = 1e6
# Half of what the whole way of a chunk, from the provider's bytes to the client's, may cost.
_LIMIT = 30.0


def measure() -> Iterator[Figure]:
    """Microseconds of CPU per chunk."""
    yield Figure("openai: CPU per streamed chunk, adapter", _best(_adapter), "us", _LIMIT)
    yield Figure("openai: CPU per streamed chunk, the SDK's own", _best(_sdk), "us")


def _best(read: Callable[[], Awaitable[int]]) -> float:
    """Of several runs: the machine may be busy with others."""
    return min(asyncio.run(_run(read)) for _ in range(_RUNS))


async def _run(read: Callable[[], Awaitable[int]]) -> float:
    started = time.process_time()
    count = await read()
    spent = time.process_time() - started
    if count < _CHUNKS:
        raise RuntimeError(f"{count} chunks of {_CHUNKS} were read.")
    return spent / count * _MICROSECONDS


async def _adapter() -> int:
    provider = OpenAI("openai", _URL, NoKey(), Patience(60, 60), OPENAI, _transport())
    asked = Prompt("gpt-6.1", (), (Utterance("user", (Text("Hi"),)),))
    count = 0
    async for _ in provider.stream(asked):
        count += 1
    await provider.aclose()
    return count


async def _sdk() -> int:
    from openai import AsyncOpenAI  # noqa: PLC0415

    http_client = httpx2.AsyncClient(transport=_transport())
    async with AsyncOpenAI(api_key="none", base_url=_URL, http_client=http_client) as client:
        stream = await client.chat.completions.create(
            model="gpt-6.1", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        count = 0
        async for _ in stream:
            count += 1
    return count


def _transport() -> httpx2.AsyncBaseTransport:
    async def answer(_request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, stream=_Stream())

    return httpx2.MockTransport(answer)


class _Stream(httpx2.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        piece = _chunk({"content": " again"}, None)
        for _ in range(_CHUNKS):
            yield piece
        yield _chunk({}, "stop")
        yield b"data: [DONE]\n\n"


def _chunk(delta: dict[str, Any], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {
        "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
        "object": "chat.completion.chunk",
        "created": 1741570283,
        "model": "gpt-6.1-2026-09-15",
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [choice],
        "usage": None,
        "obfuscation": "aGx2Zm9v",
    }
    return b"data: %b\n\n" % json.dumps(chunk, separators=(",", ":")).encode()
