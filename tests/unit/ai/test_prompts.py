"""What a model is sent of a session's messages."""

from typing import Any

import pytest

from functions.ai.domain.inference import Opaque, Text, ToolCall, ToolResult, Utterance
from functions.ai.domain.prompts import NO_RESULT, arrange, to_prompt
from functions.ai.domain.tool_data import (
    call_to_wire,
    calls_from_wire,
    result_to_wire,
    results_from_wire,
)
from tests.fakes.messages import call, in_order, message, results
from tests.fakes.prompts import said

OPAQUE = Opaque("anthropic", {"signature": "x"})


def utterances(*history: Any) -> tuple[Utterance, ...]:
    return to_prompt("m", in_order(*history)).utterances


def result(call_id: str) -> ToolResult:
    return ToolResult(call_id, f"of {call_id}")


def missing(call_id: str) -> ToolResult:
    return ToolResult(call_id, NO_RESULT, is_error=True)


def test_tool_data_comes_back_as_it_went() -> None:
    calls = (ToolCall("a", "weather", {"city": "Köln", "days": [1, 2.5, None]}),)
    answers = (ToolResult("a", "Rain"), ToolResult("b", "", is_error=True))
    assert calls_from_wire([call_to_wire(each) for each in calls]) == calls
    assert results_from_wire([result_to_wire(each) for each in answers]) == answers
    assert result_to_wire(answers[0]) == {"tool_call_id": "a", "content": "Rain"}


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        [{}],
        [{"id": "a"}],
        [call("")],
        [call("a", "two words")],
        [call("a", "x" * 65)],
        [call("a", arguments="[1]")],
        [call("a", arguments="{")],
        [call("a", arguments='{"a": NaN}')],
        [call("a", arguments="[" * 100_000)],
        [{"id": 1, "function": {"name": "t", "arguments": "{}"}}],
        [{"id": "a", "function": "t"}],
        [{"id": "a", "function": {"name": "t", "arguments": {"a": 1}}}],
    ],
)
def test_calls_of_another_shape_are_none(stored: Any) -> None:
    assert calls_from_wire(stored) == ()


@pytest.mark.parametrize(
    "stored", [None, [{}], [{"tool_call_id": 1, "content": "x"}], [{"tool_call_id": "a"}]]
)
def test_results_of_another_shape_are_none(stored: Any) -> None:
    assert results_from_wire(stored) == ()


def test_each_id_counts_once_and_no_arguments_are_an_empty_object() -> None:
    assert calls_from_wire([call("a", arguments=""), call("a", "other")]) == (
        ToolCall("a", "t", {}),
    )


def test_results_stand_behind_their_calls_before_other_words() -> None:
    assert utterances(
        message(1, "user", "Hi"),
        message(2, "assistant", "Wait", tool_calls=[call("a"), call("b")], opaque=(OPAQUE,)),
        message(3, "user", "Hurry", tool_results=results("b")),
        message(4, "user", "Please", tool_results=results("a")),
        message(5, "assistant", "Done"),
    ) == (
        said("user", "Hi"),
        Utterance(
            "assistant", (OPAQUE, Text("Wait"), ToolCall("a", "t", {}), ToolCall("b", "t", {}))
        ),
        Utterance("user", (result("a"), result("b"), Text("Hurry"), Text("Please"))),
        said("assistant", "Done"),
    )


def test_a_call_without_its_result_is_answered_by_an_error() -> None:
    assert utterances(
        message(1, "user", "Hi"),
        message(2, "assistant", tool_calls=[call("a"), call("b")]),
        message(3, "user", "Never mind", tool_results=results("a")),
    )[2] == Utterance("user", (result("a"), missing("b"), Text("Never mind")))


def test_two_answers_with_calls_in_a_row_keep_their_pairs() -> None:
    assert utterances(
        message(1, "user", "Hi"),
        message(2, "assistant", tool_calls=[call("a")]),
        message(3, "assistant", tool_calls=[call("b")]),
        message(4, "user", tool_results=results("b")),
    )[1:] == (
        Utterance("assistant", (ToolCall("a", "t", {}),)),
        Utterance("user", (missing("a"),)),
        Utterance("assistant", (ToolCall("b", "t", {}),)),
        Utterance("user", (result("b"),)),
    )


def test_results_without_a_call_are_left_out() -> None:
    assert utterances(
        message(1, "user", "Hi", tool_results=results("x")),
        message(2, "assistant", "Yes"),
        message(3, "user", tool_results=results("y")),
        message(4, "assistant", "And"),
    ) == (said("user", "Hi"), said("assistant", "Yes", "And"))


def test_calls_and_results_in_one_message_stand_before_its_text() -> None:
    assert utterances(
        message(1, "user", "Hi"),
        message(2, "assistant", "It rains", tool_calls=[call("a")], tool_results=results("a")),
        message(3, "user", "Thanks"),
    )[1:] == (
        Utterance("assistant", (ToolCall("a", "t", {}),)),
        Utterance("user", (result("a"),)),
        said("assistant", "It rains"),
        said("user", "Thanks"),
    )


def test_an_assistant_who_begins_is_left_out_with_the_results_of_its_calls() -> None:
    history = [
        message(1, "assistant", tool_calls=[call("a")]),
        message(2, "user", tool_results=results("a")),
        message(3, "assistant", "Hello"),
        message(4, "user", "Hi"),
    ]
    assert utterances(*history) == (said("user", "Hi"),)
    assert [placed.sequence for placed in arrange(history)] == [4]
    assert utterances(*history[:3]) == ()


def test_an_answer_that_broke_off_gives_way_to_a_complete_one() -> None:
    half = message(2, "assistant", "Ha", reply_to=1, incomplete=True, opaque=(OPAQUE,))
    whole = message(3, "assistant", "Half", reply_to=1)
    question = message(1, "user", "Hi")
    assert utterances(question, half, whole)[1] == said("assistant", "Half")
    assert utterances(question, half)[1] == said("assistant", "Ha")


def test_blank_texts_and_lone_opaque_parts_are_left_out() -> None:
    assert utterances(
        message(1, "user", "Hi"),
        message(2, "user", " \n"),
        message(3, "assistant", " ", opaque=(OPAQUE,)),
        message(4, "user", "There?"),
    ) == (said("user", "Hi", "There?"),)


def test_system_texts_stand_apart() -> None:
    prompt = to_prompt("m", [message(1, "system", "Be brief"), message(2, "system", " ")])
    assert (prompt.system, prompt.utterances) == (("Be brief",), ())
