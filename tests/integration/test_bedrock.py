"""The Bedrock adapter with the real botocore client against a scripted server."""

import asyncio
import base64
from dataclasses import replace

import pytest
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError
from botocore.session import get_session

from functions.ai.adapters.bedrock import Bedrock
from functions.ai.adapters.patience import Patience
from functions.ai.domain.errors import (
    ContextTooLongError,
    ModelUnavailableError,
    ProviderAuthError,
    ProviderError,
    ProviderRejectedError,
    ProviderThrottledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from functions.ai.domain.inference import (
    Completion,
    Image,
    Prompt,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    Utterance,
)
from tests.fakes.ai_app import AiService, chat_body, chunks
from tests.fakes.bedrock_server import BedrockServer
from tests.fakes.prompts import said

pytestmark = pytest.mark.anyio


@pytest.fixture
def server():
    with BedrockServer() as server:
        yield server


@pytest.fixture
def make_bedrock(server, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    made = []

    def make(first_byte=20.0, idle=20.0, url=server.url, closed=0):
        def client():
            config = Config(
                read_timeout=max(first_byte, idle) + 1,
                connect_timeout=1,
                retries={"total_max_attempts": 1},
            )
            client = get_session().create_client(
                "bedrock-runtime", region_name="us-east-1", endpoint_url=url, config=config
            )

            def send(request, **_arguments):
                nonlocal closed
                if closed:
                    closed -= 1
                    raise ConnectionClosedError(endpoint_url=request.url)

            client.meta.events.register("before-send.bedrock-runtime.*", send)
            return client

        made.append(Bedrock(Patience(first_byte, idle), client))
        return made[-1]

    yield make
    for bedrock in made:
        asyncio.run(bedrock.aclose())


def prompt(*texts):
    return Prompt("amazon.nova-lite-v1:0", ("Be brief",), (said("user", *texts),))


async def collect(stream, texts):
    """Puts the texts into `texts` as they come and returns the completion."""
    async for event in stream:
        if isinstance(event, Completion):
            return event
        texts += event
    return None


async def answer(bedrock, text):
    texts: list[str] = []
    completion = await collect(bedrock.stream(prompt(text)), texts)
    return texts, completion


async def test_an_answer_comes_in_its_chunks_with_its_usage(make_bedrock, server):
    texts, completion = await answer(make_bedrock(), "[[chunks=5]][[text=Grüße 🙂 an alle]]")
    assert "".join(texts) == "Grüße 🙂 an alle"
    assert len(texts) == 5
    assert completion.usage.input > 0
    assert completion.usage.output > 0
    (call,) = server.calls
    assert call.body["system"] == [{"text": "Be brief"}]


async def test_calls_reasoning_and_cached_tokens_come_with_the_completion(make_bedrock, server):
    weather = Tool("weather", "Of a city", {"properties": {"city": {"type": "string"}}})
    asked = replace(
        prompt(
            "[[thinking=Let me see]][[redacted]][[text=One moment]]"
            '[[tool=weather {"city": "Köln"}]][[tool=now]]'
            "[[input=10 output=5 cache_read=3 cache_write=2]]"
        ),
        tools=(weather,),
        max_output_tokens=100,
    )
    texts: list[str] = []
    completion = await collect(make_bedrock().stream(asked), texts)
    assert "".join(texts) == "One moment"
    assert completion.stop == "tool_calls"
    assert completion.usage == Usage(10, 5, cache_read=3, cache_write=2)
    first, second = completion.tool_calls
    assert (first.name, first.arguments) == ("weather", {"city": "Köln"})
    assert (second.name, second.arguments) == ("now", {})
    assert [part.content["model"] for part in completion.opaque] == [asked.model] * 2
    answered = replace(
        asked,
        utterances=(
            *asked.utterances,
            Utterance("assistant", (*completion.opaque, Text("One moment"), first, second)),
            Utterance(
                "user",
                (
                    ToolResult(first.id, "Rain"),
                    ToolResult(second.id, "", is_error=True),
                    Text("[[text=It rains]]"),
                ),
            ),
        ),
    )
    texts = []
    completion = await collect(make_bedrock().stream(answered), texts)
    assert ("".join(texts), completion.stop) == ("It rains", "end")
    body = server.calls[-1].body
    assert body["inferenceConfig"] == {"maxTokens": 100}
    thought, hidden, said_text, use, _ = body["messages"][1]["content"]
    reasoning = thought["reasoningContent"]["reasoningText"]
    assert reasoning["text"] == "Let me see"
    assert base64.b64decode(reasoning["signature"]) == b"Let me see"
    assert base64.b64decode(hidden["reasoningContent"]["redactedContent"]) == b"hidden"
    assert said_text == {"text": "One moment"}
    assert use["toolUse"]["input"] == {"city": "Köln"}
    assert body["messages"][2]["content"][1]["toolResult"]["status"] == "error"


async def test_an_image_leaves_as_its_bytes(make_bedrock, server):
    look = Utterance("user", (Image("image/png", b"\x89PNG\xff"), Text("[[text=A dot]]")))
    await collect(make_bedrock().stream(Prompt("m", (), (look,))), [])
    (image, _) = server.calls[0].body["messages"][0]["content"]
    assert image["image"]["format"] == "png"
    assert base64.b64decode(image["image"]["source"]["bytes"]) == b"\x89PNG\xff"


async def test_a_history_with_calls_needs_no_tools_of_today(make_bedrock, server):
    said_before = (
        said("user", "Weather?"),
        Utterance("assistant", (ToolCall("a.b:c", "weather", {}),)),
        Utterance("user", (ToolResult("a.b:c", "Rain"), Text("[[text=Fine]]"))),
    )
    texts: list[str] = []
    await collect(make_bedrock().stream(Prompt("m", (), said_before)), texts)
    assert "".join(texts) == "Fine"
    (tool,) = server.calls[0].body["toolConfig"]["tools"]
    assert tool["toolSpec"]["name"] == "weather"


@pytest.mark.parametrize("arguments", ["[1]", '{"a": NaN}', '{"a"'])
async def test_arguments_that_are_no_json_object_fail_the_answer(make_bedrock, arguments):
    with pytest.raises(ProviderError) as failure:
        await answer(make_bedrock(), f"[[tool=t {arguments}]]")
    assert type(failure.value) is ProviderError


async def test_text_arrives_before_the_model_is_done(make_bedrock, server):
    stream = make_bedrock().stream(prompt("[[chunks=3 step]]"))
    first = await anext(stream)
    assert len(first) == 1
    server.step(2)
    rest = [event async for event in stream]
    assert sum(len(event) for event in rest if not isinstance(event, Completion)) == 2


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ThrottlingException", ProviderThrottledError),
        ("AccessDeniedException", ProviderAuthError),
        ("ValidationException", ProviderRejectedError),
        ("ResourceNotFoundException", ModelUnavailableError),
        ("ModelNotReadyException", ProviderUnavailableError),
        ("ServiceUnavailableException", ProviderUnavailableError),
        ("InternalServerException", ProviderUnavailableError),
        ("ModelTimeoutException", ProviderTimeoutError),
        ("ModelErrorException", ProviderError),
    ],
)
async def test_refusals_before_the_first_byte(make_bedrock, server, code, error):
    with pytest.raises(error) as failure:
        await answer(make_bedrock(), f"[[fail={code}]]")
    assert type(failure.value) is error
    assert failure.value.detail is None
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("directive", "error"),
    [
        ("fail_after=2 fail=ThrottlingException", ProviderThrottledError),
        ("fail_after=2 fail=ModelStreamErrorException", ProviderError),
        ("fail_after=2 fail=InternalServerException", ProviderUnavailableError),
        ("cut_after=2", ProviderUnavailableError),
    ],
)
async def test_failures_inside_the_stream(make_bedrock, directive, error):
    texts: list[str] = []
    with pytest.raises(error) as failure:
        await collect(make_bedrock().stream(prompt(f"[[chunks=5 {directive}]]")), texts)
    assert type(failure.value) is error
    assert len(texts) == 2


async def test_silence_before_the_first_text(make_bedrock):
    with pytest.raises(ProviderTimeoutError):
        await answer(make_bedrock(first_byte=0.3, idle=0.3), "[[hang]]")


async def test_silence_after_the_first_text(make_bedrock):
    texts: list[str] = []
    stream = make_bedrock(first_byte=30.0, idle=0.3).stream(prompt("[[chunks=5 hang_after=2]]"))
    with pytest.raises(ProviderTimeoutError):
        await collect(stream, texts)
    assert len(texts) == 2


async def test_nobody_at_the_address(make_bedrock):
    with pytest.raises(ProviderUnavailableError):
        await answer(make_bedrock(url="http://127.0.0.1:9"), "Hi")


async def test_a_connection_that_ended_in_the_pool_is_replaced_once(make_bedrock, server):
    texts, _ = await answer(make_bedrock(closed=1), "[[text=Hello]]")
    assert "".join(texts) == "Hello"
    with pytest.raises(ProviderUnavailableError):
        await answer(make_bedrock(closed=2), "Hi")
    assert len(server.calls) == 1


async def test_one_answer_too_many_is_told_to_come_back(make_bedrock, monkeypatch):
    monkeypatch.setattr("functions.ai.adapters.bedrock.MAX_STREAMS", 0)
    with pytest.raises(ProviderUnavailableError) as refused:
        await answer(make_bedrock(), "Hi")
    assert refused.value.headers == {"Retry-After": "1"}


async def test_many_answers_at_once(make_bedrock):
    bedrock = make_bedrock()
    results = await asyncio.gather(
        *(answer(bedrock, f"[[chunks=20]][[text={n} {'x' * 50}]]") for n in range(4))
    )
    assert ["".join(texts)[0] for texts, _ in results] == [str(n) for n in range(4)]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("Input is too long for requested model.", ContextTooLongError),
        ("input length and `max_tokens` exceed context limit: 9 > 8", ContextTooLongError),
        ("Input Tokens Exceeded: Number of input tokens exceeds maximum", ContextTooLongError),
        ("The provided model identifier is invalid.", ModelUnavailableError),
        (
            "Invocation of model ID x with on-demand throughput is not supported.",
            ModelUnavailableError,
        ),
        ("Malformed input request", ProviderRejectedError),
    ],
)
async def test_validation_errors_are_told_apart(message, error):
    from botocore.exceptions import ClientError

    from functions.ai.adapters.bedrock_errors import to_app_error

    response = {
        "Error": {"Code": "ValidationException", "Message": message},
        "ResponseMetadata": {"HTTPHeaders": {"retry-after": "5"}},
    }
    mapped = to_app_error(ClientError(response, "ConverseStream"))
    assert type(mapped) is error
    assert mapped.detail is None
    assert mapped.headers == {"Retry-After": "5"}


async def test_the_whole_service_over_dynamodb_and_bedrock(make_bedrock, dynamodb):
    service = AiService(storage=dynamodb, provider=make_bedrock())
    first = await service.call(
        "POST",
        "/api/v1/chat",
        chat_body(message="[[text=Hello you]]"),
        idempotency_key="a",
    )
    assert first.status_code == 200, first.text
    session_id = first.json()["session_id"]
    broken = await service.call(
        "POST",
        "/api/v1/chat/stream",
        chat_body(session_id=session_id, message="[[chunks=4 fail_after=2]]"),
    )
    assert chunks(broken)[-1]["error"]["code"].startswith("provider_")
    last = await service.call(
        "POST", "/api/v1/chat/stream", chat_body(session_id=session_id, message="[[text=Bye]]")
    )
    assert chunks(last)[-1]["finished"]
    refused = await service.call(
        "POST",
        "/api/v1/chat/stream",
        chat_body(session_id=session_id, message="[[fail=ThrottlingException]]"),
    )
    assert refused.status_code == 429
    stored = await service.messages(session_id)
    roles = ["user", "assistant", "user", "assistant", "user", "assistant", "user"]
    assert [m["role"] for m in stored] == roles
    assert stored[1]["content"] == "Hello you"
    assert stored[5]["content"] == "Bye"
    assert float(stored[5]["cost"]) > 0
    again = await service.call(
        "POST",
        "/api/v1/chat",
        chat_body(message="[[text=Hello you]]"),
        idempotency_key="a",
    )
    assert again.json() == first.json()
