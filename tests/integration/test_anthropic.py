"""The Anthropic adapter with the real SDK against the provider server."""

import asyncio
import logging
import subprocess
import sys
from contextlib import aclosing

import pytest

from functions.ai.adapters.anthropic import Anthropic
from functions.ai.adapters.patience import Patience
from functions.ai.domain.errors import (
    ContentRefusedError,
    ContextTooLongError,
    ModelUnavailableError,
    ProviderAuthError,
    ProviderError,
    ProviderKeyMissingError,
    ProviderRejectedError,
    ProviderThrottledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
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
from tests.fakes.ai_app import AiService, chat_body, chunks
from tests.fakes.prompts import said
from tests.fakes.provider_server import ProviderServer

pytestmark = pytest.mark.anyio

MODEL = "claude-haiku-4-5"
WEATHER = Tool("weather", "Tells the weather", {"type": "object"})


class Keys:
    """A key that is another one after it was refused."""

    def __init__(self):
        self.number = 1
        self.is_missing = False

    async def get(self):
        if self.is_missing:
            raise ProviderKeyMissingError("Put it there.")
        return f"key-{self.number}"

    def forget(self):
        self.number += 1


@pytest.fixture
def server():
    with ProviderServer() as server:
        yield server


@pytest.fixture
def keys():
    return Keys()


@pytest.fixture
async def make_anthropic(server, keys):
    made = []

    def make(first_byte=20.0, idle=20.0, url=server.url):
        made.append(
            Anthropic(Patience(first_byte, idle), keys, base_url=url, default_max_tokens=4096)
        )
        return made[-1]

    yield make
    for anthropic in made:
        await anthropic.aclose()


@pytest.fixture
def anthropic(make_anthropic):
    return make_anthropic()


def prompt(*texts):
    return Prompt(MODEL, ("Be brief",), (said("user", *texts),))


async def collect(stream, texts):
    """Puts the texts into `texts` as they come and returns the completion."""
    async with aclosing(stream) as events:
        async for event in events:
            if isinstance(event, Completion):
                completion = event
            else:
                texts += event
    return completion


async def answer(anthropic, asked):
    texts: list[str] = []
    asked = prompt(asked) if isinstance(asked, str) else asked
    return texts, await collect(anthropic.stream(asked), texts)


async def test_an_answer_comes_in_its_chunks_with_its_usage(anthropic, server):
    texts, completion = await answer(
        anthropic,
        "[[chunks=5]][[text=Grüße 🙂 an alle]]"
        "[[input=10 output=5 cache_read=300 cache_write=20 reasoning=7]]",
    )
    assert "".join(texts) == "Grüße 🙂 an alle"
    assert len(texts) == 5
    assert completion.usage == Usage(
        input=10, output=5, cache_read=300, cache_write=20, reasoning=7
    )
    assert completion.stop == "end"
    (call,) = server.calls
    assert call.wait() == "complete"
    assert call.body["system"] == [{"type": "text", "text": "Be brief"}]
    assert call.body["max_tokens"] == 4096
    assert "anthropic-version" in call.headers
    assert "key-1" in (call.headers.get("authorization", "") + call.headers.get("x-api-key", ""))


async def test_text_arrives_before_the_model_is_done(anthropic, server):
    stream = anthropic.stream(prompt("[[chunks=3 step]]"))
    assert len(await anext(stream)) == 1
    server.step(2)
    rest = [event async for event in stream]
    assert sum(len(event) for event in rest if not isinstance(event, Completion)) == 2


@pytest.mark.parametrize("directive", ["split=1", "split=7", "crlf", "split=1 crlf"])
async def test_characters_and_lines_in_pieces(anthropic, directive):
    texts, completion = await answer(
        anthropic,
        f"[[text=Grüße, 世界 😀]][[chunks=4 {directive}]]"
        '[[thinking=Größe?]][[tool=weather {"city": "Köln"}]]',
    )
    assert "".join(texts) == "Grüße, 世界 😀"
    assert len(texts) == 4
    assert completion.tool_calls[0].arguments == {"city": "Köln"}
    assert completion.opaque[0].content["thinking"] == "Größe?"


async def test_identical_chunks_all_count(anthropic):
    texts, _ = await answer(anthropic, "[[text=ha ]][[chunks=50 repeat]]")
    assert texts == ["ha "] * 50


async def test_usage_in_the_last_event_alone(anthropic):
    _, completion = await answer(anthropic, "[[input=10 output=5 usage_last]]")
    assert completion.usage == Usage(input=10, output=5)


async def test_usage_that_is_never_said(anthropic):
    _, completion = await answer(anthropic, "[[usage_never]]")
    assert completion.usage is None


@pytest.mark.parametrize(
    ("reason", "stop"),
    [("max_tokens", "length"), ("refusal", "refused"), ("stop_sequence", "end")],
)
async def test_stop_reasons(anthropic, reason, stop):
    _, completion = await answer(anthropic, f"[[stop={reason}]]")
    assert completion.stop == stop


async def test_tools_are_called_and_answered_with_the_thinking_that_led_there(anthropic, server):
    question = said(
        "user", '[[thinking=Where?]][[redacted]][[tool=weather {"city": "Köln"}]][[tool=now]]'
    )
    asked = Prompt(MODEL, (), (question,), (WEATHER, Tool("now", None, {})))
    texts, completion = await answer(anthropic, asked)
    assert texts == []
    assert completion.stop == "tool_calls"
    first, second = completion.tool_calls
    assert (first.name, first.arguments) == ("weather", {"city": "Köln"})
    assert (second.name, second.arguments) == ("now", {})
    assert [part.content["type"] for part in completion.opaque] == ["thinking", "redacted_thinking"]
    # The server refuses thinking that is not its own, as it was; and calls without results.
    followed = Prompt(
        MODEL,
        (),
        (
            question,
            Utterance("assistant", (Text("Wait."), *completion.tool_calls, *completion.opaque)),
            Utterance(
                "user",
                (
                    Text("[[text=22 °C]]"),
                    ToolResult(first.id, "22"),
                    ToolResult(second.id, "broken", is_error=True),
                ),
            ),
        ),
        asked.tools,
    )
    texts, _ = await answer(anthropic, followed)
    assert "".join(texts) == "22 °C"
    asked_of = server.calls[1].body["messages"]
    kinds = [[block["type"] for block in message["content"]] for message in asked_of]
    assert kinds[1] == ["thinking", "redacted_thinking", "text", "tool_use", "tool_use"]
    assert kinds[2] == ["tool_result", "tool_result", "text"]


async def test_a_history_of_other_providers_is_understood(anthropic):
    history = Prompt(
        MODEL,
        (),
        (
            said("user", "Weather?"),
            Utterance(
                "assistant",
                (Opaque("openai", {"encrypted": "x"}), ToolCall("call:1", "weather", {})),
            ),
            Utterance("user", (ToolResult("call:1", ""),)),
            Utterance("assistant", (Opaque("gemini", {"thought_signature": "x"}),)),
            said("user", "[[text=Fine]]"),
        ),
        (WEATHER,),
    )
    texts, _ = await answer(anthropic, history)
    assert "".join(texts) == "Fine"


async def test_images_are_seen(anthropic, server):
    picture = Utterance("user", (Image("image/png", b"\x89PNG"), Text("[[text=A cat]]")))
    texts, _ = await answer(anthropic, Prompt(MODEL, (), (picture,)))
    assert "".join(texts) == "A cat"
    source = server.calls[0].body["messages"][0]["content"][0]["source"]
    assert source == {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}


async def test_half_a_surrogate_pair_is_no_reason_to_fail(anthropic):
    texts, _ = await answer(anthropic, "\ud83d [[text=still \udc00 here]]")
    assert "".join(texts) == "still \ufffd here"


@pytest.mark.parametrize("arguments", ['{"city":', "[1]"])
async def test_arguments_that_are_no_object(anthropic, arguments):
    with pytest.raises(ProviderError) as failure:
        await answer(anthropic, f"[[tool=weather {arguments}]]")
    assert type(failure.value) is ProviderError


REFUSALS = [
    ("auth", ProviderAuthError),
    ("billing", ProviderAuthError),
    ("forbidden", ProviderAuthError),
    ("internal", ProviderUnavailableError),
    ("invalid", ProviderRejectedError),
    ("not_found", ModelUnavailableError),
    ("overloaded", ProviderUnavailableError),
    ("rate_limit", ProviderThrottledError),
    ("refused", ContentRefusedError),
    ("timeout", ProviderTimeoutError),
    ("too_large", ContextTooLongError),
    ("too_long", ContextTooLongError),
    ("unavailable", ProviderUnavailableError),
]


@pytest.mark.parametrize(
    ("name", "error"),
    [*REFUSALS, ("502", ProviderUnavailableError), ("413", ContextTooLongError)],
)
async def test_refusals_before_the_first_byte(anthropic, server, name, error):
    with pytest.raises(error) as failure:
        await answer(anthropic, f"[[fail={name}]]")
    assert type(failure.value) is error
    assert failure.value.detail is None
    # Nothing is tried again: it would be billed again.
    assert len(server.calls) == 1


@pytest.mark.parametrize(("name", "error"), REFUSALS)
async def test_a_200_that_becomes_an_error(anthropic, name, error):
    texts: list[str] = []
    with pytest.raises(error) as failure:
        await collect(anthropic.stream(prompt(f"[[chunks=5 fail_after=2 fail={name}]]")), texts)
    assert type(failure.value) is error
    assert len(texts) == 2


@pytest.mark.parametrize("directive", ["fail_after=2", "cut_after=2", "end_after=2"])
async def test_what_comes_with_a_failure_is_said_before_it(anthropic, directive):
    texts: list[str] = []
    with pytest.raises(ProviderUnavailableError):
        await collect(anthropic.stream(prompt(f"[[chunks=5 burst {directive}]]")), texts)
    assert texts == ["Chunk 1 of 5. ", "Chunk 2 of 5. "]


async def test_texts_that_come_together_are_one_sequence(anthropic):
    events = [event async for event in anthropic.stream(prompt("[[chunks=3 burst]]"))]
    assert events[0] == ["Chunk 1 of 3. ", "Chunk 2 of 3. ", "Chunk 3 of 3."]
    assert isinstance(events[1], Completion)


async def test_an_error_before_any_content(anthropic):
    with pytest.raises(ProviderUnavailableError):
        await answer(anthropic, "[[fail_after=0]]")


async def test_when_to_come_back(anthropic):
    with pytest.raises(ProviderThrottledError) as failure:
        await answer(anthropic, "[[fail=rate_limit retry_after=7]]")
    assert failure.value.headers == {"Retry-After": "7"}


async def test_neither_prompts_nor_answers_nor_errors_are_logged(anthropic, caplog):
    with caplog.at_level(logging.DEBUG):
        await answer(anthropic, "[[text=secret-answer]]")
        for directive in ("fail=invalid", "fail_after=1", "cut_after=1", "drop=2"):
            with pytest.raises((ProviderRejectedError, ProviderUnavailableError)):
                await answer(anthropic, f"[[chunks=3 {directive}]] secret-question")
    assert caplog.records
    logged = caplog.text + repr([vars(record) for record in caplog.records])
    for words in ("secret", "as asked", "key-1"):
        assert words not in logged


async def test_a_refused_key_is_read_again(anthropic, server):
    with pytest.raises(ProviderAuthError):
        await answer(anthropic, "[[fail=auth]]")
    await answer(anthropic, "Hi")
    assert "key-2" in server.calls[1].headers["authorization"]
    assert server.calls[1].connection == server.calls[0].connection


async def test_without_a_key_nothing_is_sent(anthropic, keys, server):
    keys.is_missing = True
    with pytest.raises(ProviderKeyMissingError):
        await answer(anthropic, "Hi")
    assert server.calls == []


async def test_silence_before_the_first_byte(make_anthropic, server):
    with pytest.raises(ProviderTimeoutError):
        await answer(make_anthropic(first_byte=0.3), "[[hang]]")
    assert server.calls[0].wait() == "left"


async def test_silence_before_the_first_text(make_anthropic, server):
    with pytest.raises(ProviderTimeoutError):
        await answer(make_anthropic(first_byte=0.3), "[[hang_after=0]]")
    assert server.calls[0].wait() == "left"


async def test_silence_after_the_first_text(make_anthropic, server):
    texts: list[str] = []
    stream = make_anthropic(idle=1.0).stream(prompt("[[chunks=5 hang_after=2]]"))
    with pytest.raises(ProviderTimeoutError, match="for 1 s"):
        await collect(stream, texts)
    assert len(texts) == 2
    assert server.calls[0].wait() == "left"
    assert server.calls[0].sent == 2


async def test_pings_are_signs_of_life(make_anthropic):
    # The pings alone take longer than a model may be silent.
    texts, _ = await answer(make_anthropic(first_byte=1.5), "[[pings=10 delay=0.2 chunks=1]]")
    assert texts


async def test_thinking_is_a_sign_of_life(make_anthropic):
    anthropic = make_anthropic(first_byte=20.0, idle=1.0)
    with pytest.raises(ProviderTimeoutError, match="for 1 s"):
        await answer(anthropic, "[[thinking=Hm]][[hang_after=1]]")


async def test_a_slow_first_byte_is_waited_for(make_anthropic):
    texts, _ = await answer(make_anthropic(idle=1.0), "[[wait=1.5]][[text=Late]]")
    assert "".join(texts) == "Late"


@pytest.mark.parametrize("directive", ["cut_after=2", "end_after=2", "cut_after=0", "end_after=0"])
async def test_an_answer_without_its_end_is_broken_off(anthropic, directive):
    texts: list[str] = []
    with pytest.raises(ProviderUnavailableError):
        await collect(anthropic.stream(prompt(f"[[chunks=5 {directive}]]")), texts)
    assert len(texts) == int(directive[-1])


async def test_nobody_at_the_address(make_anthropic):
    with pytest.raises(ProviderUnavailableError):
        await answer(make_anthropic(url="http://127.0.0.1:9"), "Hi")


async def test_nobody_is_followed_elsewhere(anthropic, server):
    with pytest.raises(ProviderRejectedError):
        await answer(anthropic, "[[redirect]]")
    assert len(server.calls) == 1


async def test_connections_are_used_again(anthropic, server):
    for _ in range(3):
        await answer(anthropic, "Hi")
    assert server.connections == 1


async def test_a_connection_that_ended_in_the_pool_is_replaced_once(anthropic, server):
    await answer(anthropic, "Hi")
    texts, _ = await answer(anthropic, "[[drop=1]][[text=Hello]]")
    assert "".join(texts) == "Hello"
    assert [call.connection for call in server.calls] == [1, 1, 2]
    with pytest.raises(ProviderUnavailableError):
        await answer(anthropic, "[[drop=2]]")
    assert len(server.calls) == 5


async def test_a_connection_that_was_closed_unseen_is_replaced(anthropic, server):
    await answer(anthropic, "[[close]]")
    await answer(anthropic, "Hi")
    assert server.connections == 2


async def test_a_new_connection_that_ends_is_not_tried_again(anthropic, server):
    with pytest.raises(ProviderUnavailableError):
        await answer(anthropic, "[[drop=1]]")
    assert len(server.calls) == 1


async def test_closing_the_stream_ends_the_request(anthropic, server):
    async with aclosing(anthropic.stream(prompt("[[chunks=9 step]]"))) as stream:
        await anext(stream)
    assert server.calls[0].wait() == "left"
    assert server.calls[0].sent == 1


async def test_cancelling_the_reader_ends_the_request(anthropic, server):
    texts: list[str] = []
    task = asyncio.create_task(
        collect(anthropic.stream(prompt("[[chunks=5 hang_after=2]]")), texts)
    )
    while len(texts) < 2:  # noqa: ASYNC110 - nobody tells when the second text is there
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.calls[0].wait() == "left"


async def test_many_answers_at_once(anthropic):
    results = await asyncio.gather(
        *(answer(anthropic, f"[[chunks=20]][[text={n} {'x' * 50}]]") for n in range(8))
    )
    assert ["".join(texts)[0] for texts, _ in results] == [str(n) for n in range(8)]


async def test_a_mistake_of_ours_is_not_taken_for_the_providers(anthropic, monkeypatch):
    def fail(*_arguments):
        raise TypeError("ours")

    monkeypatch.setattr("functions.ai.adapters.anthropic.Answer.read", fail)
    with pytest.raises(TypeError):
        await answer(anthropic, "Hi")


def test_the_sdk_is_loaded_when_it_is_needed():
    program = """
import sys
from functions.ai.adapters.anthropic import Anthropic
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.provider_keys import NoKey
anthropic = Anthropic(Patience(1, 1), NoKey(), default_max_tokens=1)
assert not {"anthropic", "httpx2", "pydantic"} & set(sys.modules)
anthropic.load()
assert "anthropic" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_the_whole_service_over_anthropic(make_anthropic, storage):
    service = AiService(storage=storage, provider=make_anthropic())
    first = await service.call("POST", "/api/v1/chat", chat_body(message="[[text=Hello you]]"))
    assert first.status_code == 200, first.text
    session_id = first.json()["session_id"]
    broken = await service.call(
        "POST",
        "/api/v1/chat/stream",
        chat_body(session_id=session_id, message="[[chunks=4 fail_after=2]]"),
    )
    assert chunks(broken)[-1]["error"]["code"] == "provider_unavailable"
    refused = await service.call(
        "POST",
        "/api/v1/chat/stream",
        chat_body(session_id=session_id, message="[[fail=rate_limit retry_after=3]]"),
    )
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "3"
    last = await service.call(
        "POST", "/api/v1/chat/stream", chat_body(session_id=session_id, message="[[text=Bye]]")
    )
    assert chunks(last)[-1]["finished"]
    stored = await service.messages(session_id)
    assert stored[1]["content"] == "Hello you"
    assert stored[-1]["content"] == "Bye"
