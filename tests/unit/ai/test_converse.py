"""Converse's shapes: what is sent is checked by botocore's own model of the service."""

from typing import Any

import pytest
from botocore.session import Session
from botocore.validate import ParamValidator

from functions.ai.adapters.converse import Answer, to_arguments
from functions.ai.domain.errors import ProviderError
from functions.ai.domain.inference import (
    Completion,
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

SIGNED = Opaque("bedrock", {"model": "m", "text": "Hm", "signature": "c2ln"})
REDACTED = Opaque("bedrock", {"model": "m", "redacted": "aGlkZGVu"})
CALL = ToolCall("call.1/ü" + "x" * 80, "weather", {"city": "Köln"})
RESULT = ToolResult(CALL.id, "Rain")


@pytest.fixture(scope="module")
def shape() -> Any:
    service = Session().get_service_model("bedrock-runtime")
    return service.operation_model("ConverseStream").input_shape


def sent(shape: Any, prompt: Prompt) -> dict[str, Any]:
    arguments = to_arguments(prompt)
    report = ParamValidator().validate(arguments, shape)
    assert not report.has_errors(), report.generate_report()
    return arguments


def answer(*parts: Any) -> Utterance:
    return Utterance("assistant", parts)


def test_every_part_in_the_shape_of_the_service(shape: Any) -> None:
    prompt = Prompt(
        "m",
        ("Be brief", " "),
        (
            Utterance("user", (Image("image/webp", b"RIFF"), Text("Look"), Text("\n"))),
            answer(Text("Well"), SIGNED, REDACTED, CALL),
            Utterance("user", (Text("And?"), RESULT)),
        ),
        (Tool("weather", "", {}), Tool("now", "The time", {"properties": {}})),
        max_output_tokens=50,
    )
    arguments = sent(shape, prompt)
    assert arguments["system"] == [{"text": "Be brief"}]
    assert arguments["inferenceConfig"] == {"maxTokens": 50}
    first, second, third = (message["content"] for message in arguments["messages"])
    assert first == [
        {"image": {"format": "webp", "source": {"bytes": b"RIFF"}}},
        {"text": "Look"},
    ]
    call_id = ("call_1__" + "x" * 80)[:64]
    assert second == [
        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": b"hidden"}},
        {"text": "Well"},
        {"toolUse": {"toolUseId": call_id, "name": "weather", "input": {"city": "Köln"}}},
    ]
    assert third == [
        {"toolResult": {"toolUseId": call_id, "content": [{"text": "Rain"}]}},
        {"text": "And?"},
    ]
    weather, now = (tool["toolSpec"] for tool in arguments["toolConfig"]["tools"])
    assert weather == {"name": "weather", "inputSchema": {"json": {"type": "object"}}}
    assert now["description"] == "The time"


def test_failures_say_so_and_are_never_blank(shape: Any) -> None:
    failed = ToolResult(CALL.id, " ", is_error=True)
    prompt = Prompt("m", (), (said("user", "Hi"), answer(CALL), Utterance("user", (failed,))))
    arguments = sent(shape, prompt)
    result = arguments["messages"][2]["content"][0]["toolResult"]
    assert result["status"] == "error"
    assert result["content"][0]["text"].strip()
    # Bedrock wants the tools of a history named.
    assert [t["toolSpec"]["name"] for t in arguments["toolConfig"]["tools"]] == ["weather"]


@pytest.mark.parametrize(
    "foreign",
    [
        Opaque("anthropic", {"model": "m", "signature": "x"}),
        Opaque("bedrock", {"model": "another", "text": "Hm", "signature": "x"}),
    ],
)
def test_what_another_reads_is_not_sent(shape: Any, foreign: Opaque) -> None:
    prompt = Prompt("m", (), (said("user", "Hi"), answer(foreign), said("user", "Well?")))
    (message,) = sent(shape, prompt)["messages"]
    assert message == {"role": "user", "content": [{"text": "Hi"}, {"text": "Well?"}]}


def test_half_a_character_is_replaced(shape: Any) -> None:
    arguments = sent(shape, Prompt("m", ("\ud800",), (said("user", "\ud83d\ude42 \udc00"),)))
    assert arguments["messages"][0]["content"] == [{"text": "🙂 �"}]
    assert arguments["system"] == [{"text": "�"}]


def test_nothing_is_said_of_what_is_not_asked(shape: Any) -> None:
    assert sent(shape, Prompt("m", (), (said("user", "Hi"),))).keys() == {"modelId", "messages"}


def stopped(reason: str, *events: dict[str, Any]) -> Answer:
    read = Answer("m")
    for event in (*events, {"messageStop": {"stopReason": reason}}):
        read.read(event)
    return read


def tool(index: int, *pieces: str, **more: str) -> list[dict[str, Any]]:
    use = {"toolUseId": f"id{index}", "name": "t", **more}
    return [
        {"contentBlockStart": {"contentBlockIndex": index, "start": {"toolUse": use}}},
        *(
            {
                "contentBlockDelta": {
                    "contentBlockIndex": index,
                    "delta": {"toolUse": {"input": piece}},
                }
            }
            for piece in pieces
        ),
    ]


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("end_turn", "end"),
        ("stop_sequence", "end"),
        ("a_reason_of_tomorrow", "end"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "refused"),
        ("content_filtered", "refused"),
    ],
)
def test_stop_reasons(reason: str, stop: str) -> None:
    assert stopped(reason).completion() == Completion(None, stop)  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use", "tool_use"])
def test_an_answer_that_its_model_spoiled_fails(reason: str) -> None:
    with pytest.raises(ProviderError):
        stopped(reason).completion()


def test_calls_that_run_side_by_side_keep_apart() -> None:
    one, two = tool(1, '{"a"', ": 1}"), tool(2, '{"b": 2}')
    read = stopped("tool_use", one[0], two[0], one[1], two[1], one[2])
    assert [call.arguments for call in read.completion().tool_calls] == [{"a": 1}, {"b": 2}]


def test_a_call_that_broke_off_with_the_answer_is_none() -> None:
    read = stopped("max_tokens", *tool(1, '{"a": 1}'), *tool(2, '{"b": '))
    assert [call.id for call in read.completion().tool_calls] == ["id1"]


def test_a_tool_of_the_providers_own_is_no_call() -> None:
    read = stopped("end_turn", *tool(1, "{}", type="server_tool_use"))
    assert read.completion().tool_calls == ()


def test_reasoning_without_a_signature_is_not_kept() -> None:
    thought = {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm"}}}
    assert stopped("end_turn", {"contentBlockDelta": thought}).completion().opaque == ()


def test_usage_in_buckets_that_share_none() -> None:
    usage = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 20}
    cached = usage | {"cacheReadInputTokens": 3, "cacheWriteInputTokens": 2}
    read = stopped("end_turn", {"metadata": {"usage": cached}})
    assert read.completion().usage == Usage(10, 5, cache_read=3, cache_write=2)
    read = stopped("end_turn", {"metadata": {"usage": usage}})
    assert read.completion().usage == Usage(10, 5)
