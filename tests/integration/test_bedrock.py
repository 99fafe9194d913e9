"""The Bedrock adapter with the real botocore client against a scripted server."""

import asyncio

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
from functions.ai.domain.inference import Completion, Prompt
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
    stream = make_bedrock(first_byte=1.0, idle=0.3).stream(prompt("[[chunks=5 hang_after=2]]"))
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
