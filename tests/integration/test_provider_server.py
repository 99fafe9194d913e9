"""The local provider server's Chat Completions as the SDK itself reads them, strictly validated."""

import openai
import pytest

from tests.fakes.provider_server import ProviderServer

pytestmark = pytest.mark.anyio

PATHS = ("/openai/v1", "/v1beta/openai/", "/ollama/v1")


@pytest.fixture
def server():
    with ProviderServer() as server:
        yield server


@pytest.fixture(params=PATHS)
async def client(server, request):
    async with openai.AsyncOpenAI(
        api_key="sk-1",
        base_url=server.url + request.param,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


def asked(text):
    return {"model": "model-1", "messages": [{"role": "user", "content": text}]}


async def test_a_streamed_answer(client):
    stream = await client.chat.completions.create(
        **asked("[[text=Grüße]][[input=10 output=5]]"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == "Grüße"
    assert [c.finish_reason for chunk in chunks for c in chunk.choices][-1] == "stop"
    assert chunks[-1].usage.prompt_tokens == 10


async def test_streamed_tool_calls(client):
    stream = await client.chat.completions.create(
        **asked('[[tool=weather {"city": "Köln"}]]'), stream=True
    )
    calls = [
        call
        async for chunk in stream
        for choice in chunk.choices
        for call in choice.delta.tool_calls or ()
    ]
    assert calls[0].function.name == "weather"
    assert "".join(call.function.arguments or "" for call in calls) == '{"city": "Köln"}'


async def test_a_whole_answer(client):
    answer = await client.chat.completions.create(
        **asked("[[text=Grüße]][[tool=weather {}]][[input=10 output=5]]")
    )
    (choice,) = answer.choices
    assert choice.message.content == "Grüße"
    assert choice.message.tool_calls[0].function.name == "weather"
    assert answer.usage.completion_tokens == 5


async def test_usage_is_said_on_demand_alone(client):
    stream = await client.chat.completions.create(**asked("Hi"), stream=True)
    assert {chunk.usage async for chunk in stream} == {None}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("rate_limit", openai.RateLimitError),
        ("not_found", openai.NotFoundError),
        ("internal", openai.InternalServerError),
        ("too_long", openai.BadRequestError),
    ],
)
async def test_failures(client, name, error):
    with pytest.raises(error):
        await client.chat.completions.create(**asked(f"[[fail={name}]]"))


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user"}],
        [{"role": "nobody", "content": "Hi"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}],
        [{"role": "tool", "tool_call_id": "c1", "content": "x"}],
        [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "a", "arguments": "{}"}}
                ],
            },
            {"role": "user", "content": "Well?"},
        ],
    ],
)
async def test_what_a_provider_would_not_take(client, messages):
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="model-1", messages=messages)
