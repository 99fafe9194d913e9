"""What Anthropic is sent and what its events mean, without a connection."""

import json
from base64 import b64decode

import pytest

from functions.ai.adapters.anthropic_messages import Answer, event_of, to_body
from functions.ai.domain.errors import ProviderError
from functions.ai.domain.inference import (
    Image,
    Opaque,
    Prompt,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    Utterance,
)
from tests.fakes.prompts import said

THINKING = {"type": "thinking", "thinking": "Hm", "signature": "abc"}


def body(*utterances, system=(), tools=(), limit=None):
    prompt = Prompt("claude-x", system, utterances, tools, limit)
    return json.loads(to_body(prompt, default_max_tokens=4096))


def content(utterance):
    (message,) = body(utterance)["messages"]
    return message["content"]


def user(*parts):
    return Utterance("user", parts)


def assistant(*parts):
    return Utterance("assistant", parts)


def read(*events):
    answer = Answer()
    texts = [answer.read(event) for event in events]
    return answer, [text for text in texts if text]


def start(index, **block):
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index, **change):
    return {"type": "content_block_delta", "index": index, "delta": change}


def end(reason="end_turn", **usage):
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def begin(**usage):
    return {"type": "message_start", "message": {"usage": usage}}


def test_a_conversation_in_the_apis_shape():
    sent = body(
        said("user", "Hi"), said("assistant", "Yes?"), said("user", "Grüße"), system=("Be brief",)
    )
    assert sent == {
        "model": "claude-x",
        "max_tokens": 4096,
        "stream": True,
        "system": [{"type": "text", "text": "Be brief"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Yes?"}]},
            {"role": "user", "content": [{"type": "text", "text": "Grüße"}]},
        ],
    }


def test_the_prompts_own_bound_wins():
    assert body(said("user", "Hi"), limit=7)["max_tokens"] == 7


def test_images_are_sent_with_their_bytes():
    (block,) = content(user(Image("image/png", b"\x89PNG")))
    assert block["type"] == "image"
    assert block["source"]["type"] == "base64"
    assert block["source"]["media_type"] == "image/png"
    assert b64decode(block["source"]["data"]) == b"\x89PNG"


def test_tools_say_that_their_arguments_are_an_object():
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    sent = body(
        said("user", "Hi"), tools=(Tool("weather", "Tells it", schema), Tool("now", None, {}))
    )
    assert sent["tools"] == [
        {"name": "weather", "description": "Tells it", "input_schema": schema},
        {"name": "now", "input_schema": {"type": "object"}},
    ]


def test_calls_and_their_results():
    sent = body(
        said("user", "Weather?"),
        assistant(Text("Let me see"), ToolCall("t1", "weather", {"city": "Köln"})),
        user(Text("And quickly"), ToolResult("t1", "22 °C")),
    )
    assert sent["messages"][1]["content"][1] == {
        "type": "tool_use",
        "id": "t1",
        "name": "weather",
        "input": {"city": "Köln"},
    }
    # The API wants results before anything else.
    assert sent["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "t1", "content": "22 °C"},
        {"type": "text", "text": "And quickly"},
    ]


@pytest.mark.parametrize(
    ("result", "rest"),
    [
        (ToolResult("t", "no such city", is_error=True), ("no such city", True)),
        (ToolResult("t", " ", is_error=True), ("The tool failed.", True)),
        (ToolResult("t", ""), (None, None)),
    ],
)
def test_failed_and_silent_tools(result, rest):
    (block,) = content(user(result))
    assert (block.get("content"), block.get("is_error")) == rest


def test_ids_of_another_providers_calls_are_made_fit():
    sent = body(
        said("user", "Hi"),
        assistant(ToolCall("call|1.a", "f", {})),
        user(ToolResult("call|1.a", "x")),
    )
    (call,), (result,) = (message["content"] for message in sent["messages"][1:])
    assert call["id"] == result["tool_use_id"] == "call_1_a"


def test_thinking_is_handed_back_before_what_it_led_to():
    blocks = content(
        assistant(Text("So"), ToolCall("t1", "f", {}), Opaque("anthropic", THINKING)),
    )
    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use"]
    assert blocks[0] == THINKING


def test_what_only_another_provider_reads_is_not_sent():
    sent = body(
        said("user", "Hi"),
        assistant(Opaque("openai", {"encrypted": "x"})),
        said("user", "Well?"),
    )
    assert [message["role"] for message in sent["messages"]] == ["user", "user"]


def test_blank_texts_are_not_sent():
    sent = body(said("user", " ", "Hi"), system=("", " \n"))
    assert sent["messages"][0]["content"] == [{"type": "text", "text": "Hi"}]
    assert "system" not in sent


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("half \ud83d alone", "half \ufffd alone"),
        ("\ud83d\ude00", "😀"),
        ("\ude00\ud83d", "\ufffd" * 2),
    ],
)
def test_halves_of_surrogate_pairs_are_no_text(text, sent):
    assert content(user(Text(text))) == [{"type": "text", "text": sent}]


def test_texts_come_as_they_are_said():
    answer, texts = read(
        begin(input_tokens=3, output_tokens=1),
        start(0, type="text", text=""),
        {"type": "ping"},
        delta(0, type="text_delta", text="Grü"),
        delta(0, type="text_delta", text="ße"),
        {"type": "content_block_stop", "index": 0},
        end(output_tokens=2),
        {"type": "message_stop"},
    )
    assert texts == ["Grü", "ße"]
    assert answer.is_whole
    assert answer.completion().stop == "end"


def test_counts_are_of_the_answer_so_far_and_never_added_up():
    answer, _ = read(
        begin(
            input_tokens=10,
            cache_read_input_tokens=100,
            cache_creation_input_tokens=20,
            output_tokens=1,
        ),
        end(
            input_tokens=10,
            cache_read_input_tokens=100,
            cache_creation_input_tokens=20,
            output_tokens=50,
            output_tokens_details={"thinking_tokens": 30},
        ),
    )
    assert answer.completion().usage == Usage(
        input=10, output=20, cache_read=100, cache_write=20, reasoning=30
    )


def test_what_the_last_event_leaves_out_the_first_has_said():
    answer, _ = read(
        begin(input_tokens=10, cache_read_input_tokens=7, output_tokens=1),
        end(output_tokens=5, cache_read_input_tokens=None),
    )
    assert answer.completion().usage == Usage(input=10, output=5, cache_read=7)


def test_usage_in_the_last_event_alone():
    answer, _ = read({"type": "message_start", "message": {}}, end(input_tokens=4, output_tokens=5))
    assert answer.completion().usage == Usage(input=4, output=5)


def test_the_placeholder_of_the_first_event_is_no_usage():
    answer, _ = read(begin(input_tokens=10, output_tokens=1), end())
    assert answer.completion().usage is None


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("end_turn", "end"),
        ("stop_sequence", "end"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "refused"),
        ("something_new", "end"),
    ],
)
def test_stop_reasons(reason, stop):
    answer, _ = read(end(reason, output_tokens=1))
    assert answer.completion().stop == stop


def test_arguments_of_a_call_are_put_together():
    answer, _ = read(
        start(0, type="text", text="Well"),
        start(1, type="tool_use", id="t1", name="weather", input={}),
        start(2, type="tool_use", id="t2", name="now", input={}),
        delta(1, type="input_json_delta", partial_json=""),
        delta(1, type="input_json_delta", partial_json='{"city": "K'),
        delta(2, type="input_json_delta", partial_json=""),
        delta(1, type="input_json_delta", partial_json='öln"}'),
        end("tool_use", output_tokens=9),
    )
    assert answer.completion().tool_calls == (
        ToolCall("t1", "weather", {"city": "Köln"}),
        ToolCall("t2", "now", {}),
    )


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", '"x"', '{"a": NaN}', "[" * 100_000])
def test_arguments_that_are_no_object_fail_the_answer(arguments):
    answer, _ = read(
        start(0, type="tool_use", id="t1", name="f", input={}),
        delta(0, type="input_json_delta", partial_json=arguments),
        end("tool_use"),
    )
    with pytest.raises(ProviderError) as failure:
        answer.completion()
    assert type(failure.value) is ProviderError


def test_a_call_that_broke_off_with_the_answer_is_none():
    answer, _ = read(
        start(0, type="tool_use", id="t1", name="f", input={}),
        delta(0, type="input_json_delta", partial_json='{"a":'),
        end("max_tokens"),
    )
    completion = answer.completion()
    assert completion.tool_calls == ()
    assert completion.stop == "length"


def test_thinking_is_kept_with_its_signature_in_its_order():
    answer, texts = read(
        start(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="Hm, "),
        delta(0, type="thinking_delta", thinking="so"),
        delta(0, type="signature_delta", signature="abc"),
        start(1, type="redacted_thinking", data="xyz"),
        start(2, type="text", text=""),
        delta(2, type="text_delta", text="Yes"),
        end(),
    )
    assert texts == ["Yes"]
    assert answer.completion().opaque == (
        Opaque("anthropic", {"type": "thinking", "thinking": "Hm, so", "signature": "abc"}),
        Opaque("anthropic", {"type": "redacted_thinking", "data": "xyz"}),
    )


def test_thinking_that_broke_off_is_not_kept():
    answer, _ = read(
        start(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="Hm"),
        end("max_tokens"),
    )
    assert answer.completion().opaque == ()


def test_events_that_are_not_known_bring_nothing():
    answer, texts = read(
        {},
        {"type": "news"},
        delta(7, type="text_delta"),
        delta(7, type="input_json_delta", partial_json="x"),
        {"type": "content_block_delta", "index": 0, "delta": None},
        start(0, type="server_tool_use", id="s"),
    )
    assert texts == []
    assert not answer.is_whole


@pytest.mark.parametrize("data", ["", "{", "[]", "null", '{"a": Infinity}'])
def test_events_are_json_objects(data):
    with pytest.raises(ProviderError):
        event_of(data)


def test_a_half_of_a_surrogate_pair_does_not_come_through():
    event = event_of('{"a": "x\\ud83d", "b": ["\\ud83d\\ude00"]}')
    assert event == {"a": "x\ufffd", "b": ["😀"]}
