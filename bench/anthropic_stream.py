"""CPU that the adapter of Anthropic spends on a streamed chunk, without a network.

Each chunk comes as a piece of its own, as it does from a model; beside it the SDK's own reading of
the same bytes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import httpx2

from bench.figure import Figure
from functions.ai.adapters.anthropic import Anthropic
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.provider_keys import NoKey
from functions.ai.domain.inference import Completion, Prompt, Text, Utterance

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_CHUNKS = 5_000
_RUNS = 5
_URL = "http://127.0.0.1"
_MODEL = "claude-haiku-4-5"
_MICROSECONDS = 1e6
# Half of what the whole way of a chunk, from the provider's bytes to the client's, may cost.
_LIMIT = 30.0


def measure() -> Iterator[Figure]:
    """Microseconds of CPU per chunk."""
    yield Figure("anthropic: CPU per streamed chunk, adapter", _best(_adapter), "us", _LIMIT)
    yield Figure("anthropic: CPU per streamed chunk, the SDK's own", _best(_sdk), "us")


def _best(read: Callable[[], Awaitable[int]]) -> float:
    """Of several runs: the machine may be busy with others."""
    asyncio.run(_run(read))  # loads the SDK
    return min(asyncio.run(_run(read)) for _ in range(_RUNS))


async def _run(read: Callable[[], Awaitable[int]]) -> float:
    started = time.process_time()
    count = await read()
    spent = time.process_time() - started
    if count != _CHUNKS:
        raise RuntimeError(f"{count} chunks of {_CHUNKS} were read.")
    return spent / count * _MICROSECONDS


async def _adapter() -> int:
    provider = Anthropic(
        Patience(60, 60), NoKey(), base_url=_URL, default_max_tokens=1, transport=_transport()
    )
    asked = Prompt(_MODEL, (), (Utterance("user", (Text("Hi"),)),))
    count = 0
    async for event in provider.stream(asked):
        count += 0 if isinstance(event, Completion) else len(event)
    await provider.aclose()
    return count


async def _sdk() -> int:
    from anthropic import AsyncAnthropic  # noqa: PLC0415

    http_client = httpx2.AsyncClient(transport=_transport())
    async with AsyncAnthropic(api_key="none", base_url=_URL, http_client=http_client) as client:
        stream = await client.messages.create(
            model=_MODEL,
            max_tokens=1,
            messages=[{"role": "user", "content": "Hi"}],
            stream=True,
        )
        count = 0
        async for event in stream:
            count += event.type == "content_block_delta"
    return count


def _transport() -> httpx2.AsyncBaseTransport:
    async def answer(_request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, stream=_Stream())

    return httpx2.MockTransport(answer)


class _Stream(httpx2.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        usage = {"input_tokens": 3, "output_tokens": 1}
        yield _event({"type": "message_start", "message": _message(usage)})
        block = {"type": "text", "text": ""}
        yield _event({"type": "content_block_start", "index": 0, "content_block": block})
        delta = {"type": "text_delta", "text": " again"}
        piece = _event({"type": "content_block_delta", "index": 0, "delta": delta})
        for _ in range(_CHUNKS):
            yield piece
        yield _event({"type": "content_block_stop", "index": 0})
        end = {"stop_reason": "end_turn", "stop_sequence": None}
        yield _event({"type": "message_delta", "delta": end, "usage": {"output_tokens": 9}})
        yield _event({"type": "message_stop"})


def _message(usage: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": _MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _event(data: Mapping[str, Any]) -> bytes:
    text = json.dumps(data, separators=(",", ":"))
    return f"event: {data['type']}\ndata: {text}\n\n".encode()
