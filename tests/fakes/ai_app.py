"""The AI service's two apps over fakes or real adapters, called as API Gateway calls them."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from functions.ai.bootstrap import Storage, build_api, build_stream
from functions.ai.domain.ports import ModelProvider
from functions.ai.routes import buffered, streamed
from functions.ai.settings import StreamSettings
from tests.fakes.memory import Memory, ScriptedProvider

REQUEST_CONTEXT = {
    "requestId": "gateway-request-1",
    "apiId": "api1",
    "accountId": "000000000000",
    "identity": {
        "userArn": "arn:aws:sts::000000000000:assumed-role/caller/session-1",
        "accountId": "000000000000",
    },
}
ENVIRONMENT = {
    "ENVIRONMENT": "local",
    "POWERTOOLS_SERVICE_NAME": "ai-service",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "TABLE_NAME": "santaclaude-local-ai",
    "DEFAULT_MODEL": "amazon.nova-lite-v1:0",
    "ADDITIONAL_MODELS": "llama3.2",
    "ROUTING": '{"default": [], "fallbacks": []}',
    "CONTENT_BUCKET": "santaclaude-content",
    "IDEMPOTENCY_WINDOW_SECONDS": "86400",
    "TURN_RETENTION_DAYS": "30",
    "SESSION_DAYS": "0",
    "OPENAI_COMPATIBLE_URL": "",
    "OPENAI_URL": "https://openai.test/v1",
    "ANTHROPIC_URL": "https://anthropic.test",
    "GEMINI_URL": "https://gemini.test/v1beta/openai/",
    "PRELOAD_SDKS": "false",
    "MODEL_FIRST_BYTE_TIMEOUT_SECONDS": "5",
    "MODEL_IDLE_TIMEOUT_SECONDS": "5",
}


SETTINGS = StreamSettings.from_environment(ENVIRONMENT)


class Clock:
    """A clock that moves when it is told to, and a little each time it is read."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Active:
    """`ports.ProviderStates`."""

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names or {"bedrock"})

    async def active(self) -> frozenset[str]:
        return self.names


class AiService:
    """Both functions over the same storage."""

    def __init__(
        self,
        storage: Storage | None = None,
        provider: ModelProvider | None = None,
        providers: Mapping[str, ModelProvider] | None = None,
        **environment: str,
    ) -> None:
        self.memory = Memory()
        self.provider = provider or ScriptedProvider()
        self.clock = Clock()
        settings = StreamSettings.from_environment({**ENVIRONMENT, **environment})
        storage = storage or self.memory.storage()
        self.api = buffered.create_app(build_api(settings, storage, Active(), self.clock))
        self.stream_dependencies = build_stream(
            settings, storage, providers or {"bedrock": self.provider}, self.clock
        )
        self.stream = streamed.create_app(self.stream_dependencies)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        context: dict[str, Any] | None = REQUEST_CONTEXT,
        content: bytes | None = None,
        **headers: str,
    ) -> httpx.Response:
        """Calls the function that serves the path."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            sent.setdefault("content-type", "application/json")
        app: Any = self.api
        if path.startswith("/api/v1/chat") or path.partition("?")[0].endswith(
            ("/events", "/export")
        ):
            app = self.stream
            if context is not None:
                sent.setdefault("x-amzn-request-context", json.dumps(context))
        elif context is not None:
            app = as_event(app, context)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, content=content, headers=sent)

    async def new_session(self, **fields: Any) -> dict[str, Any]:
        """A session of project 7 and user 3."""
        body = {
            "project_id": 7,
            "provider": "bedrock",
            "model": "amazon.nova-lite-v1:0",
            "initial_message": "",
            **fields,
        }
        answer = await self.call("POST", "/api/v1/sessions?user_id=3", body)
        assert answer.status_code == 200, answer.text
        session: dict[str, Any] = answer.json()
        return session

    async def messages(self, session_id: str) -> list[dict[str, Any]]:
        """The stored messages."""
        answer = await self.call("GET", f"/api/v1/sessions/{session_id}")
        messages: list[dict[str, Any]] = answer.json()["messages"]
        return messages


def chat_body(**fields: Any) -> dict[str, Any]:
    """A ChatRequest of project 7 and user 3."""
    return {"message": "Hi", "project_id": 7, "user_id": 3, "stream": False, **fields}


def chunks(answer: httpx.Response) -> list[dict[str, Any]]:
    """The chunks of a streamed answer, which ends with [DONE]."""
    lines = [
        line.removeprefix("data: ")
        for line in answer.text.splitlines()
        if line and not line.startswith(("id:", ":"))
    ]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def as_event(app: Any, context: dict[str, Any]) -> Callable[..., Any]:
    """The app as Mangum calls it."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "aws.event": {"requestContext": context}}, receive, send)

    return call
