"""Streams and errors as the contract says."""

import json

import pytest

from contracts.ai import v1
from contracts.client.sse import data_lines
from functions.ai.domain.asking import MAX_ANSWER_BYTES
from tests.fakes.ai_app import AiService, chat_body, chunks

pytestmark = pytest.mark.anyio


async def test_every_line_of_a_stream_is_a_chunk_of_the_contract():
    service = AiService()
    service.provider.script = [["One"], RuntimeError()]
    for chunk in chunks(await service.call("POST", "/api/v1/chat/stream", chat_body())):
        assert v1.StreamingChatChunk.model_validate(chunk).model_dump(mode="json") == chunk


async def test_the_longest_answer_can_be_read_when_it_is_replayed():
    service = AiService()
    service.provider.script = [["\x01" * MAX_ANSWER_BYTES]]
    for _ in range(2):
        answer = await service.call("POST", "/api/v1/chat/stream", chat_body(), idempotency_key="k")

    async def body():
        yield answer.content

    lines = [line async for line in data_lines(body())]
    assert len(json.loads(lines[0])["chunk"]) == MAX_ANSWER_BYTES
    assert lines[-1] == "[DONE]"
