"""Images in S3, against moto, and from a caller to every provider's dialect."""

import json
from base64 import b64encode

import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.session import get_session

from functions.ai.adapters.anthropic import Anthropic
from functions.ai.adapters.bedrock import Bedrock
from functions.ai.adapters.chat_completions import COMPATIBLE, GEMINI, OPENAI
from functions.ai.adapters.openai import OpenAI
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.provider_keys import NoKey
from functions.ai.adapters.s3_content import S3Content
from functions.ai.domain.errors import SessionNotFoundError
from functions.ai.domain.models import Draft, Session, SessionFilter
from functions.ai.domain.ports import ContentFacts
from servicekit.clock import utc_now
from servicekit.errors import StoreUnavailableError
from tests.fakes.ai_app import SETTINGS, AiService, chat_body
from tests.fakes.bedrock_server import BedrockServer
from tests.fakes.memory_content import MemoryContent
from tests.fakes.pictures import PNG, data_url
from tests.fakes.provider_server import ProviderServer

pytestmark = pytest.mark.anyio

BUCKET = SETTINGS.content_bucket
PATIENCE = Patience(20, 20)
ENCODED = b64encode(PNG).decode()
NOW = utc_now()


@pytest.fixture(params=["memory", "s3"])
def content(request):
    """The same tests hold for the fake and for the real adapter."""
    if request.param == "memory":
        return MemoryContent(BUCKET)
    return S3Content(BUCKET, request.getfixturevalue("make_s3"))


async def test_objects_are_found_by_their_keys(content):
    await content.put("projects/7/a.png", "image/png", PNG)
    assert await content.get("projects/7/a.png") == PNG
    assert await content.head("projects/7/a.png") == ContentFacts("image/png", len(PNG))
    await content.put("projects/7/a.png", "image/gif", b"GIF")
    assert await content.head("projects/7/a.png") == ContentFacts("image/gif", 3)
    assert await content.get("projects/7/b.png") is None
    assert await content.head("projects/7/b.png") is None


async def test_a_prefix_is_removed_and_nothing_else(content):
    for key in (
        "projects/7/sessions/s1/a",
        "projects/7/sessions/s1/b/c",
        "projects/7/sessions/s12/a",
    ):
        await content.put(key, "image/png", PNG)
    for _ in range(2):
        await content.delete_prefix("projects/7/sessions/s1/")
        assert await content.get("projects/7/sessions/s1/a") is None
        assert await content.get("projects/7/sessions/s1/b/c") is None
    assert await content.get("projects/7/sessions/s12/a") == PNG


async def test_more_objects_than_one_deletion_takes(make_s3):
    client = make_s3()
    for number in range(1_001):
        client.put_object(Bucket=BUCKET, Key=f"projects/7/{number}", Body=b"x")
    await S3Content(BUCKET, make_s3).delete_prefix("projects/7/")
    assert client.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


async def failures(content):
    for call in (
        content.put("projects/7/a", "image/png", PNG),
        content.get("projects/7/a"),
        content.head("projects/7/a"),
        content.delete_prefix("projects/7/"),
    ):
        with pytest.raises(StoreUnavailableError) as failure:
            await call
        yield failure.value


async def test_a_refusal_is_no_missing_object(make_s3):
    def make():
        client = make_s3()
        client.meta.events.register_first("before-send.s3.*", lambda **_: Refusal())
        return client

    assert [error.status async for error in failures(S3Content(BUCKET, make))] == [503] * 4


class Refusal:
    """An answer of S3's, as botocore sees it."""

    def __init__(self):
        self.status_code = 403
        self.headers = {"content-type": "application/xml"}
        self.text = "<Error><Code>AccessDenied</Code><Message>secret</Message></Error>"
        self.content = self.text.encode()


async def test_s3_that_does_not_answer(make_s3):
    def send(request, **_):
        raise EndpointConnectionError(endpoint_url=request.url)

    def make():
        client = make_s3()
        client.meta.events.register_first("before-send.s3.*", send)
        return client

    assert [error.status async for error in failures(S3Content(BUCKET, make))] == [503] * 4


async def test_a_deletion_of_which_a_part_is_refused_is_not_done(make_s3):
    client = make_s3()
    client.put_object(Bucket=BUCKET, Key="projects/7/a", Body=b"x")

    def answer(parsed, **_):
        parsed["Errors"] = [{"Key": "projects/7/a", "Code": "InternalError"}]

    def make():
        client.meta.events.register("after-call.s3.DeleteObjects", answer)
        return client

    with pytest.raises(StoreUnavailableError):
        await S3Content(BUCKET, make).delete_prefix("projects/7/")


async def test_a_hidden_session_is_only_there_to_be_deleted(storage):
    session = Session("s1", 5, 7, 3, None, "bedrock", "m", "active", {}, NOW)
    await storage.sessions.create(session, [], None)
    for _ in range(2):
        await storage.sessions.hide("s1")
        assert await storage.sessions.get("s1") is None
        assert await storage.sessions.get("s1", even_deleted=True) is not None
    page = await storage.sessions.list_sessions(SessionFilter(7, None), 10, None)
    assert page.sessions == []
    with pytest.raises(SessionNotFoundError):
        await storage.sessions.append(session, Draft(1, "user", "Hi", NOW), None, only_active=True)
    await storage.sessions.delete("s1")
    with pytest.raises(SessionNotFoundError):
        await storage.sessions.hide("s1")


@pytest.fixture
def server():
    with ProviderServer() as server:
        yield server


CHAT_COMPLETIONS = {"type": "image_url", "image_url": {"url": data_url()}}
ANTHROPIC = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": ENCODED},
}
DIALECTS = {
    "openai": ("gpt-5-mini", CHAT_COMPLETIONS),
    "gemini": ("gemini-2.5-flash", CHAT_COMPLETIONS),
    "anthropic": ("claude-haiku-4-5", ANTHROPIC),
    "openai-compatible": ("llava", CHAT_COMPLETIONS),
}


class Key:
    """A `KeySource`."""

    async def get(self):
        return "sk-test"

    def forget(self):
        pass


def providers(url):
    return {
        "openai": OpenAI("openai", f"{url}/openai/v1", Key(), PATIENCE, OPENAI),
        "gemini": OpenAI("gemini", f"{url}/v1beta/openai/", Key(), PATIENCE, GEMINI),
        "anthropic": Anthropic(PATIENCE, Key(), base_url=url, default_max_tokens=99),
        "openai-compatible": OpenAI(
            "openai-compatible", f"{url}/ollama/v1", NoKey(), PATIENCE, COMPATIBLE
        ),
    }


async def show(service, **fields):
    """A picture in one turn, and its reference in the next; what the caller sees of both."""
    body = chat_body(message="[[text=A dot]]", images=[data_url()], **fields)
    first = await service.call("POST", "/api/v1/chat", body)
    assert first.status_code == 200, first.text
    assert first.json()["message"]["content"] == "A dot"
    session_id = first.json()["session_id"]
    (question, _) = await service.messages(session_id)
    body = chat_body(session_id=session_id, images=question["images"], message="[[text=Yes]]")
    second = await service.call("POST", "/api/v1/chat", body)
    assert second.status_code == 200, second.text
    return session_id


@pytest.mark.parametrize("name", DIALECTS)
async def test_an_image_reaches_a_provider_in_its_dialect(dynamodb, server, name):
    model, expected = DIALECTS[name]
    service = AiService(
        storage=dynamodb,
        providers=providers(server.url),
        ADDITIONAL_MODELS="openai-compatible:llava",
        OPENAI_COMPATIBLE_URL=f"{server.url}/ollama/v1",
    )
    try:
        await show(service, provider=name, model=model)
    finally:
        await service.stream_dependencies.close()
    first, second = (call.body["messages"] for call in server.calls)
    assert first[-1]["content"][0] == expected
    assert second[-3]["content"][0] == second[-1]["content"][0] == expected


async def test_an_image_reaches_bedrock_and_goes_with_its_session(dynamodb, make_s3):
    with BedrockServer() as server:

        def client():
            return get_session().create_client(
                "bedrock-runtime", region_name="us-east-1", endpoint_url=server.url
            )

        service = AiService(storage=dynamodb, provider=Bedrock(PATIENCE, client))
        session_id = await show(service)
        first, second = (call.body["messages"] for call in server.calls)
        expected = {"image": {"format": "png", "source": {"bytes": ENCODED}}}
        assert first[0]["content"][0] == expected
        assert second[0]["content"][0] == second[-1]["content"][0] == expected
        s3 = make_s3()
        (stored,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
        assert stored["Key"].startswith(f"projects/7/sessions/{session_id}/images/")
        assert s3.head_object(Bucket=BUCKET, Key=stored["Key"])["ContentType"] == "image/png"
        assert ENCODED not in json.dumps(await service.messages(session_id))
        answer = await service.call("DELETE", f"/api/v1/sessions/{session_id}")
        assert answer.status_code == 200
        assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
        await service.stream_dependencies.close()
