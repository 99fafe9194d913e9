"""What the AI SDK itself (npm `ai`) makes of our streams, through the example of the docs."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from contracts.ai.v1 import ChatRequest
from functions.ai.domain.errors import ProviderUnavailableError, TurnCancelledError
from functions.ai.domain.turns import Numbered, Outcome
from functions.ai.routes.frames_ai_sdk import frames
from functions.ai.routes.sse import HEARTBEAT
from tests.fakes.ai_sdk import told_to_the_sdk
from tests.fakes.turn_streams import METADATA, RESTART, USAGE, WEATHER, numbered, outcome, told

FAILURE = {"code": "provider_unavailable", "title": "The provider is not available"}
CANCELLED = {"code": "turn_cancelled", "title": "The turn was cancelled"}
STEP = {"type": "step-start"}
WHOLE = [numbered("One"), [], numbered(" two", " è 三 🎄\n\n", after=1)]
RESTARTED = [numbered("Wrong"), numbered(RESTART, "Right", after=1)]
COMPLETED = outcome(3, stop="end")


def text(said: str, state: str = "done") -> dict[str, Any]:
    return {"type": "text", "text": said, "state": state}


def message(*parts: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """The answer, as the SDK has it at the end."""
    metadata = {"status": "completed", "usage": USAGE, "cost": "0.000012", **metadata}
    return {
        "id": "turn-1",
        "role": "assistant",
        "parts": list(parts),
        "metadata": {**METADATA, "message_id": 12, **metadata},
    }


# What a reader has whose connection broke behind the first event.
KEPT = {"id": "turn-1", "role": "assistant", "parts": [STEP, text("One", "streaming")]}


def recorded(batches: Sequence[Sequence[Numbered]], end: Outcome, after: int = 0) -> list[str]:
    """The writes of the response."""
    written = asyncio.run(told(frames, batches, end, after))
    return [(write or HEARTBEAT).decode() for write in written]


@pytest.fixture(scope="module")
def reading() -> dict[str, Any]:
    """One run of Node reads all streams."""
    failed = outcome(1, "failed", ProviderUnavailableError("its own words"))
    cancelled = outcome(1, "cancelled", TurnCancelledError())
    calling = outcome(1, tool_calls=[WEATHER], stop="tool_calls")
    whole = recorded(WHOLE, COMPLETED)
    restarted = recorded(RESTARTED, COMPLETED)
    rest = recorded(WHOLE[1:], COMPLETED, after=1)
    scenarios = {
        "plain": {"frames": whole},
        "asked_again": {"frames": whole, "again": True},
        "split": {"frames": list("".join(whole))},
        "tools": {"frames": recorded([numbered("Wait")], calling)},
        "failed": {"frames": recorded([numbered("Half")], failed)},
        "cancelled": {"frames": recorded([numbered("Half")], cancelled)},
        "restarted": {"frames": restarted},
        "resumed": {"frames": rest, "kept": KEPT},
        "resumed_alone": {"frames": rest},
        "restarted_later": {
            "frames": recorded([numbered(RESTART, "Right", after=1)], COMPLETED, after=1),
            "kept": KEPT,
        },
        "disconnected": {"frames": whole[:2], "cut": True, "resumed": whole},
        "reloaded": {"frames": whole, "turn": "turn-1", "resumed": whole},
    }
    return told_to_the_sdk(scenarios)


EXPECTED = {
    "plain": message(STEP, text("One two è 三 🎄\n\n")),
    "split": message(STEP, text("One two è 三 🎄\n\n")),
    "tools": message(
        STEP,
        text("Wait"),
        {
            "type": "tool-weather",
            "toolCallId": "call-1",
            "state": "input-available",
            "input": {"city": "Wien"},
        },
    ),
    "failed": message(STEP, text("Half"), status="failed", error=FAILURE),
    "cancelled": message(STEP, text("Half"), status="cancelled", error=CANCELLED),
    "restarted": message(STEP, text("Right"), provider="openai", model="gpt"),
    "resumed_alone": message(text(" two è 三 🎄\n\n")),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_message_is_what_the_turn_said(reading, name):
    assert reading[name]["read"]["message"] == EXPECTED[name]
    assert reading[name]["chat"]["messages"] == [EXPECTED[name]]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("plain", "stop"), ("tools", "tool-calls"), ("restarted", "stop"), ("cancelled", None)],
)
def test_a_chat_is_ready_again_at_the_end(reading, name, reason):
    chat = reading[name]["chat"]
    assert (chat["status"], chat["error"]) == ("ready", None)
    end = {"isAbort": False, "isDisconnect": False, "isError": False, "finishReason": reason}
    assert chat["ends"] == [end]
    assert reading[name]["read"]["errors"] == []


def test_a_failure_is_the_chats_error(reading):
    chat = reading["failed"]["chat"]
    assert (chat["status"], json.loads(chat["error"])) == ("error", FAILURE)
    assert [json.loads(error) for error in reading["failed"]["read"]["errors"]] == [FAILURE]


def test_who_resumes_has_the_text_in_two_parts_of_one_step(reading):
    parts = [STEP, text("One", "streaming"), text(" two è 三 🎄\n\n")]
    assert reading["resumed"]["read"] == {"message": message(*parts), "errors": []}


def test_a_restart_behind_a_resumption_drops_all_that_was_said(reading):
    expected = message(STEP, text("Right"), provider="openai", model="gpt")
    assert reading["restarted_later"]["read"] == {"message": expected, "errors": []}


def test_a_chat_whose_connection_broke_gets_the_whole_again(reading):
    chat = reading["disconnected"]["chat"]
    assert [end["isDisconnect"] for end in chat["ends"]] == [True, False]
    assert chat["messages"] == [EXPECTED["plain"]]
    assert chat["status"] == "ready"


def test_a_chat_that_was_loaded_anew_gets_the_whole(reading):
    chat = reading["reloaded"]["chat"]
    assert chat["messages"] == [EXPECTED["plain"]]
    assert [request["method"] for request in chat["requests"]] == ["GET"]


def test_a_chat_asks_and_resumes_as_the_contract_says(reading):
    asked, resumed = reading["disconnected"]["chat"]["requests"]
    assert asked == {
        "method": "POST",
        "url": "https://api.test/api/v1/chat/stream?protocol=ai-sdk",
        "body": {"message": "Hi", "project_id": 7, "user_id": 3},
        "key": "question-1",
    }
    assert (resumed["method"], resumed["url"]) == (
        "GET",
        "https://api.test/api/v1/turns/turn-1/events?protocol=ai-sdk",
    )


def test_a_second_question_goes_to_the_same_session(reading):
    first, second = reading["asked_again"]["chat"]["requests"]
    assert first["key"] != second["key"]
    assert second["body"] == {**first["body"], "message": "And?", "session_id": "session-1"}
    for request in (first, second):
        ChatRequest.model_validate(request["body"])
