"""Streams and errors as the contract says."""

import pytest

from contracts.ai import v1
from tests.fakes.ai_app import AiService, chat_body, chunks

pytestmark = pytest.mark.anyio


async def test_every_line_of_a_stream_is_a_chunk_of_the_contract():
    service = AiService()
    service.provider.script = [["One"], RuntimeError()]
    for chunk in chunks(await service.call("POST", "/api/v1/chat/stream", chat_body())):
        assert v1.StreamingChatChunk.model_validate(chunk).model_dump(mode="json") == chunk
