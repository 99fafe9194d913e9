"""A turn in the AI SDK's protocol, frame by frame."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from functions.ai.domain.errors import ProviderUnavailableError, TurnCancelledError, TurnLostError
from functions.ai.domain.turns import Outcome
from functions.ai.routes.frames_ai_sdk import frames
from tests.fakes.ai_app import AiService, chat_body
from tests.fakes.turn_streams import (
    METADATA,
    RESTART,
    TURN,
    USAGE,
    WEATHER,
    numbered,
    outcome,
    told,
)

pytestmark = pytest.mark.anyio

START = {"type": "start", "messageId": "turn-1", "messageMetadata": METADATA}
BILL = {"message_id": 12, "usage": USAGE, "cost": "0.000012"}


def parsed(written: bytes) -> list[tuple[int | None, Any]]:
    """Ids and chunks."""
    found = []
    for frame in written.decode().split("\n\n")[:-1]:
        *first, data = frame.split("\n")
        number = int(first[0].removeprefix("id: ")) if first else None
        text = data.removeprefix("data: ")
        found.append((number, text if text == "[DONE]" else json.loads(text)))
    return found


async def read(*events: Any, end: Outcome, after: int = 0) -> list[tuple[int | None, Any]]:
    return parsed(b"".join(await told(frames, [numbered(*events, after=after)], end, after)))


def delta(part: int, text: str) -> dict[str, Any]:
    return {"type": "text-delta", "id": str(part), "delta": text}


async def test_an_answer_is_one_step_of_one_message():
    assert await read("Grüß ", 'dich "\n', end=outcome(2, stop="end")) == [
        (None, START),
        (None, {"type": "start-step"}),
        (None, {"type": "text-start", "id": "1"}),
        (1, delta(1, "Grüß ")),
        (2, delta(1, 'dich "\n')),
        (None, {"type": "text-end", "id": "1"}),
        (None, {"type": "finish-step"}),
        (
            3,
            {
                "type": "finish",
                "finishReason": "stop",
                "messageMetadata": {"status": "completed", **BILL},
            },
        ),
        (None, "[DONE]"),
    ]


async def test_events_that_came_together_are_one_write_and_silence_is_an_empty_one():
    batches = [numbered("a", "b"), [], numbered("c", after=2)]
    written = await told(frames, batches, outcome(3))
    assert [len(parsed(write)) for write in written] == [2, 3, 0, 1, 4]
    assert written[2] == b""


async def test_tool_calls_come_with_their_arguments_behind_the_text():
    found = await read("Wait", end=outcome(1, tool_calls=[WEATHER], stop="tool_calls"))
    assert [chunk for _, chunk in found[4:7]] == [
        {"type": "text-end", "id": "1"},
        {
            "type": "tool-input-available",
            "toolCallId": "call-1",
            "toolName": "weather",
            "input": {"city": "Wien"},
        },
        {"type": "finish-step"},
    ]
    assert found[7][1]["finishReason"] == "tool-calls"


async def test_an_answer_of_tool_calls_alone_has_no_text():
    found = await read(end=outcome(0, tool_calls=[WEATHER], stop="tool_calls"))
    assert [chunk["type"] for _, chunk in found[:-1]] == [
        "start",
        "start-step",
        "tool-input-available",
        "finish-step",
        "finish",
    ]


@pytest.mark.parametrize(
    ("stop", "reason"),
    [("end", "stop"), ("length", "length"), ("refused", "content-filter"), (None, "other")],
)
async def test_why_an_answer_ended(stop, reason):
    assert (await read("a", end=outcome(1, stop=stop)))[-2][1]["finishReason"] == reason


async def test_a_failed_turn_ends_in_error_with_our_words_alone():
    error = ProviderUnavailableError("secret words of the provider")
    found = await read("Half", end=outcome(1, "failed", error, usage=None, cost=None))
    failure = {"code": "provider_unavailable", "title": "The provider is not available"}
    metadata = {"status": "failed", "message_id": 12, "usage": None, "cost": None, "error": failure}
    assert found[4:] == [
        (None, {"type": "text-end", "id": "1"}),
        (None, {"type": "finish-step"}),
        (None, {"type": "message-metadata", "messageMetadata": metadata}),
        (2, {"type": "error", "errorText": json.dumps(failure)}),
        (None, {"type": "finish", "finishReason": "error"}),
        (None, "[DONE]"),
    ]


async def test_a_cancelled_turn_is_aborted():
    found = await read("Half", end=outcome(1, "cancelled", TurnCancelledError()))
    assert found[-3][1]["messageMetadata"]["status"] == "cancelled"
    assert found[-2:] == [(2, {"type": "abort", "reason": "turn_cancelled"}), (None, "[DONE]")]


async def test_the_end_of_a_turn_that_another_process_took_over_is_no_event():
    found = await read("Half", end=Outcome(TURN, None, TurnLostError()))
    assert found[-3][0] is None
    assert json.loads(found[-3][1]["errorText"])["code"] == "turn_lost"


async def test_a_restart_resets_the_step_and_names_the_model():
    found = await read("Wrong", RESTART, "Right", end=outcome(3))
    assert found[3:7] == [
        (1, delta(1, "Wrong")),
        (
            None,
            {
                "type": "message-metadata",
                "messageMetadata": {"provider": "openai", "model": "gpt"},
            },
        ),
        (2, {"type": "reset-step"}),
        (None, {"type": "text-start", "id": "3"}),
    ]
    assert found[7:9] == [(3, delta(3, "Right")), (None, {"type": "text-end", "id": "3"})]


async def test_a_resumed_stream_stands_for_itself_within_the_step_that_was_begun():
    found = await read("two", end=outcome(2), after=1)
    assert found[:3] == [
        (None, START),
        (None, {"type": "text-start", "id": "2"}),
        (2, delta(2, "two")),
    ]


async def test_a_later_attempt_begins_a_step():
    turn = replace(TURN, attempt=2, first_event=3)
    batches = [numbered("again", after=2)]
    found = parsed(b"".join(await told(frames, batches, outcome(3), after=2, turn=turn)))
    assert [chunk["type"] for _, chunk in found[:3]] == ["start", "start-step", "text-start"]


async def test_it_is_asked_for_by_query_or_accept_and_named_in_a_header():
    service = AiService()
    path = "/api/v1/chat/stream"
    answers = [
        await service.call("POST", f"{path}?protocol=ai-sdk", chat_body()),
        await service.call("POST", path, chat_body(), accept="text/event-stream; protocol=ai-sdk"),
    ]
    for answer in answers:
        assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
        start = parsed(answer.content)[0][1]
        assert start["messageId"] == answer.headers["x-turn-id"]
    plain = await service.call("POST", path, chat_body())
    assert "x-vercel-ai-ui-message-stream" not in plain.headers


async def test_a_turn_is_resumed_behind_its_last_event():
    service = AiService()
    service.provider.script = [["One"], [" two"], ProviderUnavailableError()]
    first = await service.call("POST", "/api/v1/chat/stream?protocol=ai-sdk", chat_body())
    path = f"/api/v1/turns/{first.headers['x-turn-id']}/events?protocol=ai-sdk"
    whole = await service.call("GET", path)
    assert texts(parsed(whole.content)) == texts(parsed(first.content)) == "One two"
    resumed = await service.call("GET", path, last_event_id="1")
    assert texts(parsed(resumed.content)) == " two"
    assert parsed(resumed.content)[-4:] == parsed(first.content)[-4:]


def texts(found: Sequence[tuple[int | None, Any]]) -> str:
    return "".join(chunk.get("delta", "") for _, chunk in found if chunk != "[DONE]")
