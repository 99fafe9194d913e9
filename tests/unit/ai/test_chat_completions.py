"""The body of a Chat Completions request, without a server."""

import json

import pytest

from functions.ai.adapters.chat_completions import (
    COMPATIBLE,
    GEMINI,
    OPENAI,
    Capabilities,
    request_body,
    signature,
)
from functions.ai.domain.inference import (
    Image,
    Opaque,
    Prompt,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Utterance,
)
from tests.fakes.prompts import said

SIGNED = {"google": {"thought_signature": "abc"}}
SKIPPED = {"google": {"thought_signature": "skip_thought_signature_validator"}}


def body(prompt, capabilities=COMPATIBLE, origin="ollama"):
    return json.loads(request_body(prompt, origin, capabilities))


def messages(*utterances, capabilities=COMPATIBLE, origin="ollama"):
    return body(Prompt("m", (), utterances), capabilities, origin)["messages"]


def test_the_least_that_is_asked():
    assert body(Prompt("m", (), (said("user", "Hi"),))) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_what_a_server_does_is_data():
    capabilities = Capabilities(
        drains=False, output_limit="max_completion_tokens", options={"reasoning_effort": "low"}
    )
    asked = body(Prompt("m", (), (said("user", "Hi"),), max_output_tokens=5), capabilities)
    assert asked["max_completion_tokens"] == 5
    assert asked["reasoning_effort"] == "low"


@pytest.mark.parametrize("capabilities", [OPENAI, GEMINI, COMPATIBLE])
def test_several_texts_of_the_user_stay_apart(capabilities):
    (message,) = messages(said("user", "One", "Two"), capabilities=capabilities)
    assert message["content"] == [
        {"type": "text", "text": "One"},
        {"type": "text", "text": "Two"},
    ]


def test_a_picture_alone():
    (message,) = messages(Utterance("user", (Image("image/webp", b"\x00\xff"),)))
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AP8="}}
    ]


def test_results_come_before_what_is_said_with_them():
    said_with = Utterance("user", (ToolResult("c1", ""), ToolResult("c2", "b"), Text("And?")))
    assert messages(said_with) == [
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "tool", "tool_call_id": "c2", "content": "b"},
        {"role": "user", "content": "And?"},
    ]


def test_a_call_with_words_before_it():
    (message,) = messages(
        Utterance("assistant", (Text("Let me see."), ToolCall("c1", "look", {"ä": [1, None]})))
    )
    assert message["content"] == "Let me see."
    (call,) = message["tool_calls"]
    assert (call["id"], call["type"]) == ("c1", "function")
    assert json.loads(call["function"]["arguments"]) == {"ä": [1, None]}


def test_an_answer_of_which_nothing_is_left_is_left_out():
    unsaid = Utterance("assistant", (Opaque("anthropic", {"thinking": "x"}),))
    assert messages(said("user", "Hi"), unsaid, said("user", "Well?")) == [
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": "Well?"},
    ]


@pytest.mark.parametrize(
    ("origin", "capabilities", "kept", "expected"),
    [
        ("gemini", GEMINI, "gemini", [SIGNED, None]),
        ("gemini", GEMINI, "other-gemini", [SKIPPED, None]),
        ("openai", OPENAI, "gemini", [None, None]),
        ("openai", OPENAI, "openai", [None, None]),
        ("ollama", COMPATIBLE, "gemini", [None, None]),
    ],
)
def test_a_signature_goes_back_to_its_origin_alone(origin, capabilities, kept, expected):
    parts = (
        signature("c1", kept, SIGNED),
        Opaque(kept, {"type": "thinking"}),
        ToolCall("c1", "a", {}),
        ToolCall("c2", "b", {}),
    )
    (message,) = messages(Utterance("assistant", parts), capabilities=capabilities, origin=origin)
    assert [call.get("extra_content") for call in message["tool_calls"]] == expected


def test_a_tool_without_a_description_or_parameters():
    asked = body(Prompt("m", (), (said("user", "Hi"),), tools=(Tool("now", None, {}),)))
    (tool,) = asked["tools"]
    assert tool["function"] == {"name": "now", "parameters": {"type": "object", "properties": {}}}


def test_halves_of_characters_are_replaced_wherever_they_stand():
    prompt = Prompt(
        "m",
        ("\udc00",),
        (
            said("user", "\ud83d\ude42"),
            Utterance("assistant", (ToolCall("c1", "a", {"\ud83d": "\ud83d"}),)),
            Utterance("user", (ToolResult("c1", "\ud83d"),)),
        ),
        tools=(Tool("a", "\ud83d", {"description": "\ud83d"}),),
    )
    text = request_body(prompt, "openai", OPENAI).decode()
    assert "🙂" in text
    assert text.count("\ufffd") == 6
    json.loads(text)
