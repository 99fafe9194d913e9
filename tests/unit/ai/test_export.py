"""All that is kept of a user, line by line."""

import json

import pytest

from servicekit.errors import StoreUnavailableError
from tests.fakes.ai_app import AiService, chat_body

pytestmark = pytest.mark.anyio

EXPORT = "/api/v1/users/3/export"


async def test_an_export_has_all_of_one_user_and_nobody_elses():
    service = AiService()
    for message in ("First", "Second"):
        await service.call("POST", "/api/v1/chat", chat_body(message=message))
    await service.call("POST", "/api/v1/chat", chat_body(user_id=4, message="Another's"))
    answer = await service.call("GET", EXPORT)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    types = [line["type"] for line in lines]
    assert types == [*["session", "message", "message"] * 2, "usage", "end"]
    assert [line["message"]["content"] for line in lines if line["type"] == "message"] == [
        "Second", "Hello there!", "First", "Hello there!",
    ]  # fmt: skip
    for line in lines[1:3]:
        assert line["session_id"] == lines[0]["session"]["session_id"]
    assert lines[-2]["usage"]["calls"] == 2
    assert lines[-1]["counts"] == {"sessions": 2, "messages": 4, "summaries": 0, "usage": 1}
    (recorded,) = [e for e in service.memory.outbox.events if e["action"] == "ai.user.export"]
    assert (recorded["resource"], recorded["user_id"]) == ("ai/users/3", 3)


async def test_of_nobody_there_is_the_end():
    answer = await AiService().call("GET", EXPORT)
    assert [json.loads(line)["type"] for line in answer.text.splitlines()] == ["end"]


async def test_nothing_is_told_that_cannot_be_recorded():
    service = AiService()
    service.memory.outbox.failure = StoreUnavailableError()
    answer = await service.call("GET", EXPORT)
    assert answer.status_code == 503


@pytest.mark.parametrize("user_id", ["0", "-1", "x", "99999999999"])
async def test_a_user_that_is_none_is_refused(user_id):
    answer = await AiService().call("GET", f"/api/v1/users/{user_id}/export")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
