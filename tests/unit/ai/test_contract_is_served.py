"""The apps serve what the contract's operations say, each from its function."""

import pytest
from starlette.routing import Route

from contracts.ai import v1
from contracts.ai.operations import OPERATIONS
from functions.ai.routes.streamed import WEB_ADAPTER_READY_PATH
from tests.fakes.ai_app import AiService, chat_body, chunks

pytestmark = pytest.mark.anyio


def promised(delivery: str) -> set[tuple[str, str]]:
    return {
        (operation.method.upper(), operation.path)
        for operation in OPERATIONS
        if operation.delivery == delivery
    }


def served(app, path_of_none: str) -> set[tuple[str, str]]:
    return {
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route) and route.path != path_of_none
        for method in route.methods or ()
        if method != "HEAD"
    }


async def test_the_streaming_function_serves_the_streamed_operations():
    assert served(AiService().stream, WEB_ADAPTER_READY_PATH) == promised("streamed")


@pytest.mark.parametrize(("method", "path"), sorted(promised("buffered")))
async def test_the_buffered_function_serves_the_buffered_operations(method, path):
    service = AiService()
    session_id = (await service.new_session())["session_id"]
    answer = await service.call(method, path.replace("{session_id}", session_id))
    assert answer.status_code not in {404, 405}


async def test_every_line_of_a_stream_is_a_chunk_of_the_contract():
    service = AiService()
    service.provider.script = [["One"], RuntimeError()]
    for chunk in chunks(await service.call("POST", "/api/v1/chat/stream", chat_body())):
        assert v1.StreamingChatChunk.model_validate(chunk).model_dump(mode="json") == chunk


async def test_every_error_code_has_one_status_and_one_title():
    from servicekit.errors import AppError

    def kinds(kind):
        return {kind}.union(*(kinds(sub) for sub in kind.__subclasses__()))

    by_code = {}
    for kind in kinds(AppError):
        by_code.setdefault(kind.code, set()).add((kind.status, kind.title))
    assert {code: len(forms) for code, forms in by_code.items() if len(forms) > 1} == {}
