"""The adapter of Chat Completions with the real SDK against a scripted server, in each dialect."""

import asyncio
import logging
from contextlib import aclosing

import pytest

from functions.ai.adapters.chat_completions import COMPATIBLE, GEMINI, OPENAI
from functions.ai.adapters.openai import OpenAI
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.provider_keys import NoKey
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
from servicekit.errors import AppError
from tests.fakes.prompts import said
from tests.fakes.provider_server import ProviderServer
from tests.fakes.provider_server.gemini import SIGNATURE

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret"
SERVERS = {
    "openai": ("/openai/v1", OPENAI),
    "gemini": ("/v1beta/openai/", GEMINI),
    "ollama": ("/ollama/v1", COMPATIBLE),
}
every_server = pytest.mark.parametrize("name", SERVERS)


class Keys:
    """A `KeySource` that counts."""

    def __init__(self, error=None):
        self.error = error
        self.forgotten = 0

    async def get(self):
        if self.error is not None:
            raise self.error
        return KEY

    def forget(self):
        self.forgotten += 1


@pytest.fixture
def server():
    with ProviderServer() as server:
        yield server


@pytest.fixture
async def make(server):
    made = []

    def make(name="openai", first_byte=20.0, idle=20.0, keys=None, url=None):
        path, capabilities = SERVERS[name]
        keys = keys or (NoKey() if name == "ollama" else Keys())
        patience = Patience(first_byte, idle)
        made.append(OpenAI(name, url or server.url + path, keys, patience, capabilities))
        return made[-1]

    yield make
    for provider in made:
        await provider.aclose()


def prompt(*texts, **options):
    return Prompt("model-1", (), (said("user", *texts),), **options)


async def collect(provider, asked, texts):
    """Puts the texts into `texts` as they come and returns the completion."""
    completion = None
    async with aclosing(provider.stream(asked)) as stream:
        async for event in stream:
            assert completion is None
            if isinstance(event, Completion):
                completion = event
            else:
                assert event
                texts += event
    return completion


async def answer(provider, *texts, **options):
    heard = []
    completion = await collect(provider, prompt(*texts, **options), heard)
    return "".join(heard), completion


async def failure(provider, text, error):
    heard = []
    with pytest.raises(error) as raised:
        await collect(provider, prompt(text), heard)
    assert type(raised.value) is error
    return raised.value, heard


# What is asked.


@every_server
async def test_an_answer_comes_in_its_chunks_with_its_usage(make, server, name):
    provider = make(name)
    texts = []
    asked = Prompt("model-1", ("Be brief", "Be kind"), (said("user", "[[chunks=5 input=9]]"),))
    completion = await collect(provider, asked, texts)
    assert "".join(texts) == "".join(f"Chunk {n} of 5. " for n in range(1, 6)).rstrip()
    assert completion.stop == "end"
    assert completion.usage.input == 9
    assert completion.usage.output > 0
    (call,) = server.calls
    assert call.wait() == "complete"
    assert call.body["messages"] == [
        {"role": "system", "content": "Be brief\n\nBe kind"},
        {"role": "user", "content": "[[chunks=5 input=9]]"},
    ]
    assert call.body["stream_options"] == {"include_usage": True}


async def test_the_key_is_sent_and_a_server_without_one_gets_none(make, server):
    await answer(make("openai"), "Hi")
    await answer(make("ollama"), "Hi")
    assert server.calls[0].headers["authorization"] == f"Bearer {KEY}"
    assert "authorization" not in server.calls[1].headers


async def test_a_missing_key_asks_nobody(make, server):
    missing = ProviderKeyMissingError("Put it there.")
    error, _ = await failure(make(keys=Keys(missing)), "Hi", ProviderKeyMissingError)
    assert error is missing
    assert not server.calls


@every_server
async def test_a_conversation_with_a_picture(make, server, name):
    asked = Prompt(
        "model-1",
        (),
        (
            said("user", "Hello"),
            said("assistant", "Hi", "there"),
            Utterance("user", (Text("What is it?"), Image("image/png", b"\x89PNG"), Text("Well?"))),
        ),
    )
    await collect(make(name), asked, [])
    assert server.calls[0].wait() == "complete"
    assert server.calls[0].body["messages"][1:] == [
        {"role": "assistant", "content": "Hi\n\nthere"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                {"type": "text", "text": "Well?"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("name", "field"),
    [("openai", "max_completion_tokens"), ("gemini", "max_tokens"), ("ollama", "max_tokens")],
)
async def test_the_bound_of_an_answer_has_its_name_in_each_dialect(make, server, name, field):
    await answer(make(name), "Hi", max_output_tokens=77)
    assert server.calls[0].body[field] == 77


async def test_openai_is_asked_to_keep_nothing(make, server):
    await answer(make("openai"), "Hi")
    assert server.calls[0].body["store"] is False


@every_server
async def test_lone_surrogates_are_replaced_and_pairs_joined(make, server, name):
    await answer(make(name), "a\ud83d b \ud83d\ude42 \udc00")
    (message,) = server.calls[0].body["messages"]
    assert message["content"] == "a\ufffd b 🙂 \ufffd"


# What is answered.


async def test_text_arrives_before_the_model_is_done(make, server):
    async with aclosing(make().stream(prompt("[[chunks=3 step]]"))) as stream:
        first = await anext(stream)
        assert first == ["Chunk 1 of 3. "]
        server.step(2)
        rest = [event async for event in stream]
    assert isinstance(rest[-1], Completion)


@every_server
async def test_repeated_chunks_are_an_answer(make, name):
    text, completion = await answer(make(name), "[[chunks=200 repeat]][[text=again ]]")
    assert text == "again " * 200
    assert completion.stop == "end"


@every_server
@pytest.mark.parametrize("script", ["[[split=1]]", "[[split=7]]", "[[split=3 crlf]]"])
async def test_split_characters_and_lines(make, name, script):
    text, completion = await answer(make(name), f"{script}[[text=Grüße 🙂\u2028 an alle]]")
    assert text == "Grüße 🙂\u2028 an alle"
    assert completion.usage is not None


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("openai", Usage(input=10, output=5, cache_read=3, cache_write=2, reasoning=7)),
        ("gemini", Usage(input=10, output=5, cache_read=3, reasoning=7)),
        ("ollama", Usage(input=13, output=12)),
    ],
)
async def test_usage_in_buckets_that_share_nothing(make, name, usage):
    script = "[[input=10 output=5 cache_read=3 cache_write=2 reasoning=7]]"
    _, completion = await answer(make(name), script)
    assert completion.usage == usage


@every_server
async def test_usage_may_not_be_told(make, name):
    text, completion = await answer(make(name), "[[usage_never]][[text=Hi]]")
    assert (text, completion) == ("Hi", Completion(None))


@pytest.mark.parametrize(
    ("name", "stop", "expected"),
    [
        ("openai", "length", "length"),
        ("openai", "content_filter", "refused"),
        ("openai", "refusal", "refused"),
        ("gemini", "content_filter", "refused"),
        ("gemini", "length", "length"),
        ("ollama", "length", "length"),
    ],
)
async def test_why_an_answer_stops(make, name, stop, expected):
    text, completion = await answer(make(name), f"[[stop={stop}]][[text=I will not]]")
    assert text == "I will not"
    assert completion.stop == expected
    assert completion.usage is not None


@pytest.mark.parametrize(("name", "stop"), [("gemini", "malformed"), ("ollama", "abort")])
async def test_an_end_that_is_none(make, name, stop):
    await failure(make(name), f"[[stop={stop}]]", ProviderError)


async def test_thinking_is_a_sign_of_life_and_no_text(make):
    text, _ = await answer(
        make("ollama", first_byte=5.0), "[[thinking=Let me see]][[chunks=1]][[text=Yes]]"
    )
    assert text == "Yes"


@every_server
async def test_comments_are_no_text(make, name):
    text, _ = await answer(make(name), "[[pings=3]][[text=Yes]]")
    assert text == "Yes"


# Tools.

WEATHER = Tool("weather", "Tells the weather", {"type": "object", "properties": {}})


@every_server
async def test_tool_calls_and_their_results(make, server, name):
    provider = make(name)
    script = '[[tool=weather {"city": "Köln 🙂"}]][[tool=time {}]]'
    text, completion = await answer(provider, script, tools=(WEATHER,))
    assert text == ""
    assert completion.stop == "tool_calls"
    first, second = completion.tool_calls
    assert (first.name, first.arguments) == ("weather", {"city": "Köln 🙂"})
    assert (second.name, second.arguments) == ("time", {})
    assert first.id != second.id
    asked = Prompt(
        "model-1",
        (),
        (
            said("user", "The weather?"),
            Utterance("assistant", (*completion.opaque, first, second)),
            Utterance(
                "user",
                (
                    ToolResult(first.id, "Rain"),
                    ToolResult(second.id, "No clock", is_error=True),
                    Text("[[text=It rains]]"),
                ),
            ),
        ),
        tools=(WEATHER,),
    )
    heard = []
    assert (await collect(provider, asked, heard)).stop == "end"
    assert "".join(heard) == "It rains"
    messages = server.calls[1].body["messages"]
    assert [message["role"] for message in messages] == [
        "user", "assistant", "tool", "tool", "user",
    ]  # fmt: skip
    assert messages[1]["content"] is None
    assert messages[2] == {"role": "tool", "tool_call_id": first.id, "content": "Rain"}
    assert messages[3]["content"] == "The tool failed: No clock"
    assert server.calls[1].body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Tells the weather",
                "parameters": {"type": "object", "properties": {}},
            },
        }
    ]


async def test_text_before_a_tool_call(make):
    text, completion = await answer(make(), "[[text=Let me see.]][[tool=weather]]")
    assert text == "Let me see."
    (call,) = completion.tool_calls
    assert call.arguments == {}


@every_server
@pytest.mark.parametrize("arguments", ['{"city": "Kö', "[1]", '"text"', "{} {}", "null"])
async def test_broken_arguments_are_never_guessed(make, name, arguments):
    await failure(make(name), f"[[tool=weather {arguments}]]", ProviderError)


@every_server
async def test_calls_of_an_answer_that_was_cut_are_left_out(make, name):
    script = '[[stop=length]][[tool=time {}]][[tool=weather {"city": "Kö]]'
    _, completion = await answer(make(name), script)
    assert completion.stop == "length"
    assert completion.tool_calls == ()


async def test_geminis_signatures_are_kept_and_go_back_to_gemini_alone(make, server):
    _, completion = await answer(make("gemini"), "[[tool=time {}]][[tool=weather {}]]")
    (kept,) = completion.opaque
    assert kept.origin == "gemini"
    history = (
        said("user", "The time?"),
        Utterance("assistant", (Opaque("anthropic", {"x": 1}), kept, *completion.tool_calls)),
        Utterance("user", tuple(ToolResult(call.id, "1") for call in completion.tool_calls)),
    )
    for name in ("gemini", "openai"):
        await collect(make(name), Prompt("model-1", (), history), [])
    gemini, openai = (call.body["messages"][1]["tool_calls"] for call in server.calls[1:])
    assert gemini[0]["extra_content"] == {"google": {"thought_signature": SIGNATURE}}
    assert "extra_content" not in gemini[1]
    assert all("extra_content" not in call for call in openai)
    assert [call.wait() for call in server.calls] == ["complete"] * 3


async def test_gemini_takes_calls_that_another_model_made(make, server):
    history = (
        said("user", "The time?"),
        Utterance("assistant", (ToolCall("call_1", "time", {}),)),
        Utterance("user", (ToolResult("call_1", "12:00"),)),
    )
    await collect(make("gemini"), Prompt("model-1", (), history), [])
    assert server.calls[0].wait() == "complete"


# How it goes wrong.

FAILURES = {
    "auth": ProviderAuthError,
    "billing": ProviderAuthError,
    "forbidden": ProviderAuthError,
    "internal": ProviderUnavailableError,
    "invalid": ProviderRejectedError,
    "not_found": ModelUnavailableError,
    "overloaded": ProviderUnavailableError,
    "rate_limit": ProviderThrottledError,
    "timeout": ProviderTimeoutError,
    "too_large": ContextTooLongError,
    "too_long": ContextTooLongError,
    "unavailable": ProviderUnavailableError,
    "429": ProviderThrottledError,
    "502": ProviderUnavailableError,
    "503": ProviderUnavailableError,
    "529": ProviderUnavailableError,
    "504": ProviderTimeoutError,
    "418": ProviderError,
}


@every_server
@pytest.mark.parametrize("fail", FAILURES)
async def test_refusals_before_the_first_byte(make, server, caplog, name, fail):
    with caplog.at_level(logging.DEBUG, "functions"):
        error, heard = await failure(make(name), f"[[fail={fail}]]", FAILURES[fail])
    assert not heard
    assert len(server.calls) == 1
    # What the server says begins so in every dialect.
    assert "asked" not in f"{error}{error.detail}{caplog.text}"
    (record,) = caplog.records
    assert record.provider == name


async def test_content_that_is_refused(make):
    await failure(make(), "[[fail=refused]]", ContentRefusedError)


async def test_no_credit_is_told_apart_from_a_rate(make):
    error, _ = await failure(make(), "[[fail=billing]]", ProviderAuthError)
    assert "credit" in error.detail


@pytest.mark.parametrize(
    ("name", "script", "seconds"),
    [
        ("openai", "retry_after=7", "7"),
        ("ollama", "retry_after=7", "7"),
        ("gemini", "", "34"),
        ("gemini", "retry_after=7", "7"),
    ],
)
async def test_how_long_to_wait(make, name, script, seconds):
    error, _ = await failure(make(name), f"[[fail=rate_limit {script}]]", ProviderThrottledError)
    assert error.headers == {"Retry-After": seconds}


@pytest.mark.parametrize(
    ("name", "fail", "times"),
    [
        ("openai", "auth", 1),
        ("gemini", "auth", 1),
        ("openai", "billing", 0),
        ("openai", "forbidden", 0),
        ("openai", "rate_limit", 0),
    ],
)
async def test_a_refused_key_is_forgotten(make, name, fail, times):
    keys = Keys()
    await failure(make(name, keys=keys), f"[[fail={fail}]]", FAILURES[fail])
    assert keys.forgotten == times


@every_server
@pytest.mark.parametrize("fail", ["overloaded", "internal", "rate_limit"])
async def test_errors_inside_the_stream(make, name, fail):
    error, heard = await failure(
        make(name),
        f"[[chunks=5 fail_after=2 fail={fail}]]",
        # Ollama tells no kinds apart, and the status had been sent.
        ProviderError if name == "ollama" else FAILURES[fail],
    )
    assert len(heard) == 2
    assert "asked" not in f"{error}{error.detail}"


@every_server
async def test_the_text_before_an_error_in_the_same_piece_is_said(make, name):
    _, heard = await failure(make(name), "[[burst]][[chunks=1 fail_after=1]]", (
        ProviderError if name == "ollama" else ProviderUnavailableError
    ))  # fmt: skip
    assert heard == ["Chunk 1 of 1."]


@every_server
@pytest.mark.parametrize("fault", ["cut_after=2", "end_after=2"])
async def test_an_answer_that_breaks_off(make, name, fault):
    _, heard = await failure(make(name), f"[[chunks=5 {fault}]]", ProviderUnavailableError)
    assert len(heard) == 2


async def test_a_stream_that_ends_before_its_first_content(make):
    await failure(make(), "[[end_after=0]]", ProviderUnavailableError)


async def test_nobody_is_followed_to_another_address(make, server):
    await failure(make(), "[[redirect]]", ProviderError)
    assert len(server.calls) == 1


@every_server
async def test_an_answer_in_one_write(make, name):
    text, completion = await answer(make(name), "[[burst]][[chunks=9]][[text=Grüße an alle]]")
    assert text == "Grüße an alle"
    assert completion.usage is not None


async def test_silence_before_the_first_content(make):
    error, _ = await failure(make(first_byte=0.3), "[[hang]]", ProviderTimeoutError)
    assert error.detail == "It was silent for 0.3 s."
    await failure(make(first_byte=0.3), "[[hang_after=0]]", ProviderTimeoutError)


async def test_signs_of_life_are_no_content(make):
    # Comments go on for ever; the deadline of the first content stands.
    script = "[[pings=100000 delay=0.01]]"
    await failure(make(first_byte=0.3, idle=0.2), script, ProviderTimeoutError)


async def test_silence_after_the_first_content(make, server):
    provider = make(first_byte=20.0, idle=0.3)
    _, heard = await failure(provider, "[[chunks=5 hang_after=2]]", ProviderTimeoutError)
    assert len(heard) == 2
    assert server.calls[0].wait() == "left"


async def test_a_slow_first_byte_within_patience(make):
    text, _ = await answer(make(first_byte=20.0, idle=0.4), "[[wait=0.6]][[text=Here]]")
    assert text == "Here"


async def test_nobody_at_the_address(make):
    await failure(make(url="http://127.0.0.1:9/v1"), "Hi", ProviderUnavailableError)


async def test_connections_are_used_again(make, server):
    provider = make()
    for _ in range(3):
        await answer(provider, "Hi")
    assert {call.connection for call in server.calls} == {1}


async def test_a_connection_that_ended_in_the_pool_is_replaced_once(make, server):
    provider = make()
    await answer(provider, "Hi")
    text, _ = await answer(provider, "[[drop=1]][[text=Hello]]")
    assert text == "Hello"
    assert [call.wait() for call in server.calls] == ["complete", "broken", "complete"]
    # A connection of its own that ends unanswered is the server's failure, and not asked again.
    await failure(provider, "[[close]][[text=x]][[drop=2]]", ProviderUnavailableError)


async def test_a_new_connection_that_ends_unanswered_is_not_tried_again(make, server):
    await failure(make(), "[[drop=1]]", ProviderUnavailableError)
    assert len(server.calls) == 1


async def test_leaving_closes_the_connection(make, server):
    async with aclosing(make().stream(prompt("[[chunks=3 step]]"))) as stream:
        await anext(stream)
    assert server.calls[0].wait() == "left"


async def test_a_cancelled_task_closes_the_connection(make, server):
    heard = asyncio.Event()

    async def listen():
        async for _ in make().stream(prompt("[[chunks=3 hang_after=1]]")):
            heard.set()

    task = asyncio.create_task(listen())
    await heard.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.calls[0].wait() == "left"


async def test_many_answers_at_once(make):
    provider = make()
    results = await asyncio.gather(
        *(answer(provider, f"[[chunks=20]][[text={n} {'x' * 50}]]") for n in range(30))
    )
    assert [text.split()[0] for text, _ in results] == [str(n) for n in range(30)]


async def test_a_bug_is_no_unavailable_provider(make, monkeypatch):
    def broken(*_arguments):
        raise AttributeError("bug")

    monkeypatch.setattr("functions.ai.adapters.openai.SseReader.feed", broken)
    with pytest.raises(AttributeError):
        await answer(make(), "Hi")


async def test_a_bad_address_in_the_settings_is_no_unavailable_provider(make):
    with pytest.raises(Exception) as raised:
        await answer(make(url="ftp://127.0.0.1/v1"), "Hi")
    assert not isinstance(raised.value, AppError)


def test_whether_a_cancelled_answer_is_read_to_its_end():
    assert {name: capabilities.drains for name, (_, capabilities) in SERVERS.items()} == {
        "openai": False,
        "gemini": True,
        "ollama": False,
    }
