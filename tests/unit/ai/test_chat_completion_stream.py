"""What a streamed chat completion says, in the shapes that servers are known to send."""

import json

import pytest

from functions.ai.adapters.chat_completion_stream import Answer
from functions.ai.domain.errors import (
    ProviderError,
    ProviderThrottledError,
    ProviderUnavailableError,
)
from functions.ai.domain.inference import Completion, Opaque, ToolCall, Usage


def delta(**fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def end(reason, **fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


def call(**fields):
    return delta(tool_calls=[fields])


def read(*chunks, origin="openai"):
    answer = Answer(origin)
    return answer, [
        answer.read(chunk if isinstance(chunk, str) else json.dumps(chunk)) for chunk in chunks
    ]


def complete(*chunks, **options):
    return read(*chunks, **options)[0].complete()


def calls(*chunks):
    return complete(*chunks, end("tool_calls")).tool_calls


def test_texts_and_the_end():
    answer, texts = read(delta(role="assistant", content=""), delta(content="Hi"), end("stop"))
    assert texts == ["", "Hi", ""]
    assert not answer.done
    assert answer.complete() == Completion(None)
    answer.read("[DONE]")
    assert answer.done
    assert answer.read(json.dumps(delta(content="after the end"))) == ""


@pytest.mark.parametrize(
    ("chunk", "begun"),
    [
        (delta(role="assistant", content=""), False),
        ({"choices": []}, False),
        ({"choices": [], "prompt_filter_results": [{}]}, False),
        (delta(content="Hi"), True),
        (delta(content=None, reasoning_content="Hm"), True),
        (delta(role="assistant", content="", reasoning="Hm"), True),
        (call(index=0, id="c1", function={"name": "a", "arguments": ""}), True),
        (delta(refusal="No"), True),
    ],
)
def test_what_is_content(chunk, begun):
    assert read(chunk)[0].begun is begun


def test_text_and_a_call_in_one_chunk():
    chunk = delta(content="Wait.", tool_calls=[{"index": 0, "id": "c1", "function": {"name": "a"}}])
    answer, texts = read(chunk, end("tool_calls"))
    assert texts == ["Wait.", ""]
    assert answer.complete().tool_calls == (ToolCall("c1", "a", {}),)


def test_text_in_the_last_chunk():
    assert read(end("stop", content="Bye"))[1] == ["Bye"]


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("stop", "end"),
        ("length", "length"),
        ("content_filter", "refused"),
        ("content_filter: PROHIBITED_CONTENT", "refused"),
    ],
)
def test_reasons_to_stop(reason, stop):
    assert complete(delta(content="Hi"), end(reason)).stop == stop


@pytest.mark.parametrize("reason", ["error", "abort", "function_call_filter: X", "tool_calls"])
def test_reasons_that_are_no_end(reason):
    with pytest.raises(ProviderError) as failure:
        complete(delta(content="Hi"), end(reason))
    assert type(failure.value) is ProviderError


def test_no_reason_is_no_end():
    with pytest.raises(ProviderUnavailableError):
        complete(delta(content="Hi"), "[DONE]")


def test_a_refusal_in_words():
    answer, texts = read(delta(content="", refusal="I "), delta(refusal="won't"), end("stop"))
    assert texts == ["I ", "won't", ""]
    assert answer.complete().stop == "refused"


# Calls.


def test_arguments_in_pieces_that_are_mixed_up():
    assert calls(
        call(index=0, id="c1", function={"name": "a", "arguments": ""}),
        call(index=1, id="c2", function={"name": "b", "arguments": "{"}),
        call(index=0, function={"arguments": '{"x"'}),
        call(index=1, function={"arguments": "}"}),
        call(index=0, id="", function={"name": None, "arguments": ": 1}"}),
    ) == (ToolCall("c1", "a", {"x": 1}), ToolCall("c2", "b", {}))


def test_an_id_that_each_piece_repeats():
    assert calls(
        call(index=0, id="c1", function={"name": "a", "arguments": "{"}),
        call(index=0, id="c1", function={"name": "a", "arguments": "}"}),
    ) == (ToolCall("c1", "a", {}),)


def test_calls_of_one_index_with_ids_of_their_own():
    assert calls(
        call(index=0, id="c1", function={"name": "a", "arguments": "{}"}),
        call(index=0, id="c2", function={"name": "a", "arguments": '{"x": 1}'}),
    ) == (ToolCall("c1", "a", {}), ToolCall("c2", "a", {"x": 1}))


def test_calls_with_neither_index_nor_id():
    first, second = calls(
        delta(
            tool_calls=[
                {"id": "", "type": "function", "function": {"name": "a", "arguments": "{}"}},
                {"id": "", "type": "function", "function": {"name": "b", "arguments": "{}"}},
            ]
        )
    )
    assert (first.name, second.name) == ("a", "b")
    assert first.id
    assert second.id
    assert first.id != second.id


def test_stop_is_said_of_calls_as_well():
    made = call(index=0, id="c1", function={"name": "a", "arguments": "{}"})
    assert complete(made, end("stop")).stop == "tool_calls"


@pytest.mark.parametrize(
    "arguments",
    ['{"a": ', "[]", "1", "null", '{} {"a": 1}', '{"a": NaN}', '{"a": 1e999}', "[" * 100_000],
)
def test_arguments_that_are_no_json_object(arguments):
    with pytest.raises(ProviderError) as failure:
        calls(call(index=0, id="c1", function={"name": "a", "arguments": arguments}))
    assert type(failure.value) is ProviderError


def test_a_call_without_a_name():
    with pytest.raises(ProviderError):
        calls(call(index=0, id="c1", function={"arguments": "{}"}))


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_calls_of_an_answer_that_did_not_end_are_left_out(reason):
    made = call(index=0, id="c1", function={"name": "a", "arguments": '{"x":'})
    completion = complete(made, end(reason))
    assert completion.tool_calls == completion.opaque == ()


def test_a_signature_is_kept_with_its_call():
    extra = {"google": {"thought_signature": "abc"}}
    made = call(index=0, id="c1", extra_content=extra, function={"name": "a", "arguments": "{}"})
    assert complete(made, end("stop"), origin="gemini").opaque == (
        Opaque("gemini", {"tool_call_id": "c1", "extra_content": extra}),
    )


# Usage.

DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 15},
}


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        # OpenAI.
        (
            {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, **DETAILS},
            Usage(input=30, output=5, cache_read=60, cache_write=10, reasoning=15),
        ),
        # Gemini's thoughts in the total alone; the same with details.
        (
            {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623},
            Usage(input=20, output=198, reasoning=405),
        ),
        (
            {
                "prompt_tokens": 21,
                "completion_tokens": 0,
                "total_tokens": 81,
                "completion_tokens_details": {"reasoning_tokens": 60},
            },
            Usage(input=21, output=0, reasoning=60),
        ),
        # vLLM and Ollama.
        (
            {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": None},
            Usage(input=7, output=3),
        ),
        # What contradicts itself never makes a bucket negative.
        (
            {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60, **DETAILS},
            Usage(input=0, output=0, cache_read=50, reasoning=10),
        ),
        ({"prompt_tokens": None, "completion_tokens": 3}, None),
        ({"prompt_tokens": 3}, None),
        ({}, None),
    ],
)
def test_usage(told, usage):
    assert complete(end("stop"), {"choices": [], "usage": told}).usage == usage


def test_usage_that_grows_with_each_chunk_is_not_added_up():
    chunks = [
        {**delta(content="a"), "usage": {"prompt_tokens": 5, "completion_tokens": count}}
        for count in (1, 2, 3)
    ]
    assert complete(*chunks, end("stop")).usage == Usage(input=5, output=3)


def test_no_usage_after_one_leaves_it():
    told = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}
    assert complete(told, {**end("stop"), "usage": None}).usage == Usage(input=5, output=1)


# Faults.


@pytest.mark.parametrize(
    "chunk",
    [
        "",
        "{",
        "null",
        "[1]",
        '"text"',
        "<html>",
        {"choices": [None]},
        {"choices": [{"delta": [1]}]},
        delta(tool_calls={"index": 0}),
        delta(tool_calls=[1]),
        call(index=0, function=[1]),
        call(index=0, id=7, function={"name": "a"}),
        call(index=0, id="c1", function={"name": "a", "arguments": {"x": 1}}),
        call(index=[0], id="c1", function={"name": "a"}),
    ],
)
def test_what_is_malformed_is_the_providers_failure(chunk):
    with pytest.raises(ProviderError) as failure:
        read(chunk)
    assert type(failure.value) is ProviderError


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "x", "type": "tokens", "code": "rate_limit_exceeded"}},
        {"error": {"message": "x", "code": 429}, **end("error")},
        [{"error": {"message": "x", "status": "RESOURCE_EXHAUSTED", "code": 429}}],
        {"object": "error", "message": "x", "code": 429},
    ],
)
def test_errors_inside_the_stream(error):
    with pytest.raises(ProviderThrottledError):
        read(delta(content="Hi"), error)


def test_an_error_that_is_none():
    assert read({**delta(content="Hi"), "error": None})[1] == ["Hi"]


# Halves of characters.


def test_a_character_that_is_spread_over_two_chunks():
    _, texts = read(delta(content="a\ud83d"), delta(content="\ude42b"), delta(content="\ude42"))
    assert texts == ["a", "🙂b", "\ufffd"]


def test_a_half_that_nothing_follows():
    assert read(delta(content="\ud83d"), end("stop"), "[DONE]")[1] == ["", "", "\ufffd"]
    assert read(delta(content="\ud83d"), delta(content="x"))[1] == ["", "\ufffdx"]


def test_halves_in_arguments():
    (made,) = calls(
        call(index=0, id="c1", function={"name": "a", "arguments": '{"x": "\\ud83d\\ude42'}),
        call(index=0, function={"arguments": '", "\\ud83d": "\\udc00"}'}),
    )
    assert made.arguments == {"x": "🙂", "\ufffd": "\ufffd"}
