"""A prompt is cut to its model's window."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from functions.ai.domain.context import Fitted, fit
from functions.ai.domain.errors import ContextTooLongError
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
from functions.ai.domain.models import Message
from functions.ai.domain.prompts import to_prompt
from functions.ai.domain.summaries import Summary, untold
from functions.ai.domain.tokens import (
    BYTES_PER_TOKEN,
    IMAGE_TOKENS,
    prompt_tokens,
    text_tokens,
    tool_tokens,
    utterance_tokens,
)
from tests.fakes.messages import call, message, results
from tests.fakes.prompts import COUNTED, said

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
WORDS = ("tea ", "Größe ", "чай ", "お茶", "🍵", "{42}")


def history(random_: random.Random, turns: int) -> list[Message]:
    """A session as it may be: rounds of tools, interrupted ones, blanks, answers that broke off."""
    found: list[Message] = []

    def add(role: str, content: str = "", **fields: object) -> None:
        found.append(message(len(found) + 1, role, content, **fields))  # type: ignore[arg-type]

    for _ in range(turns):
        add(random_.choice(["user"] * 9 + ["assistant"]), words(random_) or "Hi")
        for _ in range(random_.choice([0, 0, 1, 3])):
            ids = [f"c{len(found)}-{n}" for n in range(random_.randint(1, 3))]
            add("assistant", words(random_), tool_calls=[call(call_id) for call_id in ids])
            add("user", "", tool_results=results(*ids[random_.randint(0, 1) :]))
        add("assistant", words(random_), incomplete=random_.random() < 0.1)
    add("user", "The newest")
    return found


def words(random_: random.Random) -> str:
    return random_.choice(WORDS) * random_.randint(0, 40)


def assert_sound(prompt: Prompt) -> None:
    pending: list[str] = []
    for index, utterance in enumerate(prompt.utterances):
        assert utterance.role == ("user", "assistant")[index % 2]
        assert utterance.parts
        answered = [part.call_id for part in utterance.parts if isinstance(part, ToolResult)]
        assert answered == pending
        kinds = [isinstance(part, ToolResult) for part in utterance.parts]
        assert kinds == sorted(kinds, reverse=True)
        pending = [part.id for part in utterance.parts if isinstance(part, ToolCall)]
    assert not pending


@pytest.mark.parametrize("seed", range(150))
def test_whatever_the_history_the_prompt_is_sound(seed: int) -> None:
    random_ = random.Random(seed)
    told = [message(1, "user", "x")] if seed % 7 == 0 else []
    told = told or history(random_, random_.randint(0, 40))
    tools = (Tool("t", "Of all kinds", {"properties": {}}),)
    whole = replace(to_prompt("m", told), system=("Be brief",), tools=tools)
    assert_sound(whole)
    window, answer = random_.randint(600, 20_000), random_.randint(1, 200)
    fitted = fit(whole, window, answer)
    assert fitted == fit(whole, window, answer)
    prompt = fitted.prompt
    assert_sound(prompt)
    assert prompt_tokens(prompt) + answer <= window
    assert (prompt.system, prompt.tools, prompt.model) == (whole.system, tools, "m")
    assert prompt.utterances[-1] == whole.utterances[-1]
    assert len(prompt.utterances) + fitted.left_out == len(whole.utterances)
    assert (fitted.left_out == 0) == (prompt_tokens(whole) + answer <= window)


def exchanges(count: int, length: int = 90) -> list[Utterance]:
    random_ = random.Random(7)
    told = []
    for number in range(count):
        text = "".join(random_.choices("abcdef", k=length))
        told += [said("user", f"{number} {text}"), said("assistant", text)]
    return told


def test_a_growing_conversation_is_cut_in_steps() -> None:
    told = exchanges(400)
    begins = []
    for turn in range(1, 400):
        prompt = Prompt("m", (), (*told[: 2 * turn], said("user", "And?")))
        begins.append(fit(prompt, 4_000, 100).start)
    moves = sum(one != other for one, other in pairwise(begins))
    assert begins == sorted(begins)
    assert begins[-1] > 600
    # One each turn would be more than 300.
    assert 0 < moves < 120


def test_the_cut_does_not_depend_on_how_far_back_was_read() -> None:
    told = exchanges(200)
    question = said("user", "And?")
    whole = fit(Prompt("m", (), (*told, question)), 4_000, 100)
    for start in range(0, whole.start, 2):
        part = fit(Prompt("m", (), (*told[start:], question)), 4_000, 100)
        assert part.prompt == whole.prompt


def test_a_long_run_of_tools_loses_its_oldest_rounds() -> None:
    rounds = [
        side
        for number in range(50)
        for side in (
            Utterance("assistant", (ToolCall(f"c{number}", "t", {}),)),
            Utterance("user", (ToolResult(f"c{number}", "x" * 200),)),
        )
    ]
    before = exchanges(3)
    prompt = Prompt("m", (), (*before, said("user", "Work"), *rounds))
    fitted = fit(prompt, 2_000, 100)
    assert_sound(fitted.prompt)
    assert fitted.prompt.utterances[0] == said("user", "Work")
    assert fitted.prompt.utterances[-2:] == tuple(rounds[-2:])
    assert fitted.start == 6
    assert fitted.left_out > 6
    assert prompt_tokens(fitted.prompt) <= 1_900


def test_a_message_that_cannot_fit_is_refused_with_figures() -> None:
    prompt = Prompt(
        "m", ("s" * 300,), (said("user", "old"), said("assistant", "Y"), said("user", "x" * 9_000))
    )
    with pytest.raises(ContextTooLongError) as refused:
        fit(prompt, 3_000, 500)
    assert refused.value.status == 413
    detail = refused.value.detail or ""
    for figure in (3_016, 108, 2_500, 500):
        assert str(figure) in detail
    assert fit(prompt, 3_640, 500).left_out == 2


def test_an_unknown_window_cuts_nothing() -> None:
    prompt = Prompt("m", (), tuple(exchanges(100)))
    assert fit(prompt, None) == Fitted(prompt, 0, 0)


def test_an_answer_as_long_as_the_window_leaves_half_of_it() -> None:
    prompt = Prompt("m", (), (said("user", "x" * 1_400),))
    assert fit(prompt, 1_000, 1_000).prompt == prompt
    with pytest.raises(ContextTooLongError):
        fit(Prompt("m", (), (said("user", "x" * 1_500),)), 1_000, 1_000)


def test_images_calls_tools_and_opaque_parts_count() -> None:
    empty = utterance_tokens(said("user", ""))
    assert utterance_tokens(Utterance("user", (Image("image/png", b"x"),))) >= IMAGE_TOKENS
    for part in (
        ToolCall("c", "t", {"a": "x" * 300}),
        ToolResult("c", "x" * 300),
        Opaque("bedrock", {"signature": "x" * 300}),
        Text("x" * 300),
    ):
        assert utterance_tokens(Utterance("assistant", (part,))) >= empty + 100
    assert tool_tokens(Tool("t", "x" * 300, {"a": "x" * 300})) >= 200


@pytest.mark.parametrize(("text", "least"), COUNTED)
def test_the_estimate_is_no_less_than_what_tokenizers_count(text: str, least: int) -> None:
    assert text_tokens(text) >= least
    assert text_tokens(text) * BYTES_PER_TOKEN >= len(text.encode("utf-8", "surrogatepass"))


def test_a_summary_takes_the_place_of_what_it_tells() -> None:
    told = [message(1, "system", "Be brief")]
    for number in range(1, 41):
        told.append(message(2 * number, "user", f"{number} " + "x" * 90))
        told.append(message(2 * number + 1, "assistant", "y" * 90))
    told.append(message(82, "user", "And?"))
    fitted = fit(to_prompt("m", told), 2_000, 100)
    lost = untold(told, None, fitted)
    assert lost == 1 + fitted.left_out
    summary = Summary("They counted.", lost, NOW)
    prompt = to_prompt("m", told, summary.up_to)
    again = fit(prompt, 2_000, 100, summary.preface)
    assert untold(told, summary, again) is None
    assert again.prompt.system == ("Be brief",)
    first = again.prompt.utterances[0]
    assert first.parts == (Text(summary.preface), *fitted.prompt.utterances[0].parts)
    assert again.prompt.utterances[1:] == fitted.prompt.utterances[1:]
    assert prompt_tokens(again.prompt) <= 1_900


def test_with_summaries_the_cut_moves_as_seldom_as_without() -> None:
    random_ = random.Random(3)
    told: list[Message] = []
    summary, made, begins = None, 0, []
    for turn in range(400):
        told.append(message(len(told) + 1, "user", f"{turn} " + "x" * 90))
        up_to = summary.up_to if summary else 0
        preface = summary.preface if summary else None
        fitted = fit(to_prompt("m", told, up_to), 4_000, 100, preface)
        # What a summary does not tell of is in the prompt, but for the turn that has one made.
        begins.append(fitted.start)
        if left_out := untold(told, summary, fitted):
            assert left_out > up_to
            summary = Summary("s" * random_.randint(200, 900), left_out, NOW)
            made += 1
        told.append(message(len(told) + 1, "assistant", "y" * 90))
    assert sum(map(bool, begins)) == made
    # One each turn would be more than 300.
    assert 10 < made < 120


def test_nothing_is_untold_of_a_prompt_that_holds_all() -> None:
    # Neither a system text, an assistant who begins nor a blank is left out of any prompt.
    told = [
        message(1, "system", "Be brief"),
        message(2, "assistant", "Welcome"),
        message(3, "user", " "),
        message(4, "user", "Hi"),
    ]
    assert untold(told, None, fit(to_prompt("m", told), 2_000, 100)) is None
    assert untold([], None, fit(to_prompt("m", []), 2_000, 100)) is None


def test_what_was_not_read_is_untold_until_a_summary_tells_of_it() -> None:
    newest = [message(501, "assistant", "Yes"), message(502, "user", "And?")]
    told = [message(1, "system", "Be brief"), *newest]
    fitted = fit(to_prompt("m", told), 2_000, 100)
    assert untold(told, None, fitted) == 501
    for up_to, left in ((499, 501), (500, None), (501, None)):
        summary = Summary("They talked.", up_to, NOW)
        fitted = fit(to_prompt("m", told, up_to), 2_000, 100, summary.preface)
        assert untold(told, summary, fitted) == left


def test_a_summary_takes_room() -> None:
    prompt = Prompt("m", (), (said("user", "x" * 300),))
    assert fit(prompt, 250, 100).left_out == 0
    with pytest.raises(ContextTooLongError):
        fit(prompt, 250, 100, "y" * 300)
