"""AIServiceClient over a transport in this process: what it sends, and what it makes of answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import date
from typing import Any

import httpx
import pytest

from contracts.ai import examples, jobs, money, routing, v1
from contracts.ai.client import AIServiceClient
from contracts.client.errors import (
    ConflictError,
    InvalidAnswerError,
    NotAllowedError,
    NotFoundError,
    RateLimitedError,
    RequestRefusedError,
    ServiceError,
    ServiceFailedError,
    ServiceProblemError,
    ServiceTimeoutError,
    ServiceUnreachableError,
    StreamInterruptedError,
)
from contracts.client.transport import CallOptions

BASE_URL = "http://127.0.0.1:4566/_aws/execute-api/a1b2c3/live"
CHAT = v1.ChatRequest(message="hello", project_id=7, user_id=3)
Answer = Callable[[httpx.Request], httpx.Response]
Use = Callable[[AIServiceClient], Awaitable[Any]]


class Service(httpx.AsyncBaseTransport):
    """Answers with what `answers` give in turn, the last of them for ever; keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        self.closed = True


class Stream(httpx.AsyncByteStream):
    """A body in the given pieces; an exception among them breaks it."""

    def __init__(self, parts: Sequence[bytes | Exception]) -> None:
        self.parts = parts
        self.taken = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            self.taken += 1
            if isinstance(part, Exception):
                raise part
            yield part

    async def aclose(self) -> None:
        self.closed = True


def use(service: Service, call: Use) -> Any:
    async def run() -> Any:
        async with AIServiceClient(BASE_URL, transport=service) as client:
            return await call(client)

    return asyncio.run(run())


def problem(status: int, code: str, **fields: Any) -> httpx.Response:
    body = {"type": "about:blank", "title": "No", "status": status, "code": code} | fields
    headers = {"Content-Type": "application/problem+json"}
    return httpx.Response(status, content=json.dumps(body), headers=headers)


def event_stream(*parts: bytes | Exception) -> httpx.Response:
    headers = {"Content-Type": "text/event-stream; charset=utf-8"}
    return httpx.Response(200, headers=headers, stream=Stream(parts))


def event(chunk: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


DONE = b"data: [DONE]\n\n"


async def stream_of(client: AIServiceClient) -> list[v1.StreamingChatChunk]:
    return [chunk async for chunk in client.chat_stream(CHAT)]


SESSION_PATH = f"/api/v1/sessions/{examples.SESSION_ID}"
CALLS: dict[str, tuple[Use, str, str, object, object]] = {
    "list_providers": (
        lambda c: c.list_providers(),
        "GET /api/v1/providers",
        "",
        None,
        [examples.PROVIDER],
    ),
    "list_models": (lambda c: c.list_models(), "GET /api/v1/models", "", None, [examples.MODEL]),
    "list_models of a provider": (
        lambda c: c.list_models(2),
        "GET /api/v1/models",
        "provider_id=2",
        None,
        [examples.MODEL],
    ),
    "create_session": (
        lambda c: c.create_session(v1.SessionCreate(**examples.SESSION_CREATE), 3),
        "POST /api/v1/sessions",
        "user_id=3",
        examples.SESSION_CREATE,
        examples.SESSION,
    ),
    "create_job": (
        lambda c: c.create_job(jobs.JobCreate(**examples.JOB_CREATE)),
        "POST /api/v1/jobs",
        "",
        examples.JOB_CREATE,
        examples.JOB_QUEUED,
    ),
    "get_job": (
        lambda c: c.get_job(examples.TURN_ID),
        f"GET /api/v1/jobs/{examples.TURN_ID}",
        "",
        None,
        examples.JOB,
    ),
    "list_sessions": (
        lambda c: c.list_sessions(project_id=7, limit=10, cursor="a"),
        "GET /api/v1/sessions",
        "project_id=7&limit=10&cursor=a",
        None,
        examples.SESSION_PAGE,
    ),
    "get_session": (
        lambda c: c.get_session(examples.SESSION_ID),
        f"GET {SESSION_PATH}",
        "",
        None,
        examples.SESSION,
    ),
    "update_session": (
        lambda c: c.update_session(examples.SESSION_ID, v1.SessionUpdate(status="completed")),
        f"PATCH {SESSION_PATH}",
        "",
        {"status": "completed"},
        examples.SESSION,
    ),
    "update_session off its card": (
        lambda c: c.update_session(examples.SESSION_ID, v1.SessionUpdate(card_id=None)),
        f"PATCH {SESSION_PATH}",
        "",
        {"card_id": None},
        examples.SESSION,
    ),
    "list_messages": (
        lambda c: c.list_messages(examples.SESSION_ID, cursor="b"),
        f"GET {SESSION_PATH}/messages",
        "cursor=b",
        None,
        examples.MESSAGE_PAGE,
    ),
    "add_message": (
        lambda c: c.add_message(
            examples.SESSION_ID, v1.MessageCreate(role="user", content="héllo")
        ),
        f"POST {SESSION_PATH}/messages",
        "",
        {"role": "user", "content": "héllo"},
        examples.USER_MESSAGE,
    ),
    "get_usage": (
        lambda c: c.get_usage(
            project_id=7,
            first_day=date(2026, 1, 1),
            last_day=date(2026, 1, 31),
            group_by=["day", "model"],
            limit=10,
            cursor="a",
        ),
        "GET /api/v1/usage",
        "project_id=7&from=2026-01-01&to=2026-01-31&group_by=day%2Cmodel&limit=10&cursor=a",
        None,
        examples.USAGE_REPORT,
    ),
    "get_usage of a user": (
        lambda c: c.get_usage(user_id=3),
        "GET /api/v1/usage",
        "user_id=3",
        None,
        examples.USAGE_REPORT,
    ),
    "get_budget": (
        lambda c: c.get_budget("project-7-user-3"),
        "GET /api/v1/budgets/project-7-user-3",
        "",
        None,
        examples.BUDGET,
    ),
    "set_budget": (
        lambda c: c.set_budget("project-7-user-3", money.BudgetSet(daily_limit="2.50")),
        "PUT /api/v1/budgets/project-7-user-3",
        "",
        {"daily_limit": "2.50"},
        examples.BUDGET,
    ),
    "get_routing": (
        lambda c: c.get_routing("default"),
        "GET /api/v1/routing/default",
        "",
        None,
        examples.ROUTING,
    ),
    "set_routing": (
        lambda c: c.set_routing(
            "project-7", routing.RoutingSet.model_validate(examples.ROUTING_SET)
        ),
        "PUT /api/v1/routing/project-7",
        "",
        examples.ROUTING_SET,
        examples.ROUTING,
    ),
    "chat": (
        lambda c: c.chat(CHAT),
        "POST /api/v1/chat",
        "",
        {"message": "hello", "project_id": 7, "user_id": 3, "stream": False},
        examples.CHAT_RESPONSE,
    ),
}


@pytest.mark.parametrize(
    ("call", "route", "query", "body", "answer"), CALLS.values(), ids=CALLS.keys()
)
def test_calls(call: Use, route: str, query: str, body: object, answer: Any) -> None:
    service = Service(httpx.Response(200, json=answer))
    result = use(service, call)
    [request] = service.requests
    method, path = route.split()
    assert request.method == method
    assert request.url.path == f"/_aws/execute-api/a1b2c3/live{path}"
    assert request.url.query.decode() == query
    assert (json.loads(request.content) if request.content else None) == body
    if body is not None:
        assert request.headers["content-type"] == "application/json"
    written = [r.model_dump(mode="json") for r in result] if isinstance(result, list) else None
    assert (written or result.model_dump(mode="json")) == answer


def test_delete_session() -> None:
    service = Service(httpx.Response(200, json=examples.SESSION_DELETED))
    assert use(service, lambda c: c.delete_session(examples.SESSION_ID)) is None
    assert service.requests[0].method == "DELETE"
    assert service.requests[0].url.path.endswith(SESSION_PATH)


def test_delete_budget() -> None:
    service = Service(httpx.Response(200, json=examples.BUDGET_DELETED))
    assert use(service, lambda c: c.delete_budget("user-3")) is None
    assert service.requests[0].method == "DELETE"
    assert service.requests[0].url.path.endswith("/api/v1/budgets/user-3")


def test_a_scope_without_a_budget_is_none_and_a_wrong_address_is_not() -> None:
    service = Service(problem(404, "budget_not_found"))
    assert use(service, lambda c: c.get_budget("user-3")) is None
    with pytest.raises(NotFoundError):
        use(Service(problem(404, "not_found")), lambda c: c.get_budget("user-3"))


def test_delete_routing() -> None:
    service = Service(httpx.Response(200, json=examples.ROUTING_DELETED))
    assert use(service, lambda c: c.delete_routing("project-7")) is None
    assert service.requests[0].method == "DELETE"
    assert service.requests[0].url.path.endswith("/api/v1/routing/project-7")


def test_a_project_without_a_policy_is_none_and_a_wrong_address_is_not() -> None:
    service = Service(problem(404, "routing_not_found"))
    assert use(service, lambda c: c.get_routing("project-7")) is None
    with pytest.raises(NotFoundError):
        use(Service(problem(404, "not_found")), lambda c: c.get_routing("project-7"))


def test_passes_correlation_and_idempotency_through() -> None:
    service = Service(httpx.Response(200, json=examples.CHAT_RESPONSE))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    options = CallOptions(request_id="r-1", traceparent=trace, idempotency_key="k-1")
    use(service, lambda c: c.chat(CHAT, options=options))
    headers = service.requests[0].headers
    assert headers["x-request-id"] == "r-1"
    assert headers["traceparent"] == trace
    assert headers["idempotency-key"] == "k-1"


def test_sends_no_such_header_by_itself() -> None:
    service = Service(httpx.Response(200, json=[]))
    use(service, lambda c: c.list_providers())
    sent = service.requests[0].headers
    assert not {"x-request-id", "traceparent", "idempotency-key", "authorization"} & sent.keys()


def test_timeouts_are_60_seconds_and_300_between_bytes_of_a_stream() -> None:
    service = Service(httpx.Response(200, json=[]), event_stream(DONE))
    use(service, lambda c: c.list_providers())
    use(service, stream_of)
    whole, stream = (request.extensions["timeout"] for request in service.requests)
    assert whole == {"connect": 60, "read": 60, "write": 60, "pool": 60}
    assert stream == {"connect": 60, "read": 300, "write": 60, "pool": 60}


def test_connections_close_with_the_client() -> None:
    service = Service(httpx.Response(200, json=[]))
    use(service, lambda c: c.list_providers())
    assert service.closed


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, RequestRefusedError),
        (401, NotAllowedError),
        (403, NotAllowedError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, RequestRefusedError),
        (422, RequestRefusedError),
        (429, RateLimitedError),
        (500, ServiceFailedError),
        (503, ServiceFailedError),
    ],
)
@pytest.mark.parametrize("call", [lambda c: c.chat(CHAT), stream_of], ids=["whole", "stream"])
def test_problems_have_a_type(status: int, expected: type[ServiceProblemError], call: Use) -> None:
    answer = problem(status, "some_code", detail="Because.", request_id="r-9")
    answer.headers["Retry-After"] = "7"
    with pytest.raises(ServiceProblemError) as caught:
        use(Service(answer), call)
    error = caught.value
    assert type(error) is expected
    assert (error.status, error.code, error.request_id) == (status, "some_code", "r-9")
    assert error.retry_after == 7
    assert str(error).endswith(f": {status} some_code: Because.")


@pytest.mark.parametrize("written", ["", "soon", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_retry_after_that_is_no_number_of_seconds_is_none(written: str) -> None:
    answer = problem(503, "store_unavailable")
    answer.headers["Retry-After"] = written
    with pytest.raises(ServiceFailedError) as caught:
        use(Service(answer), lambda c: c.chat(CHAT))
    assert caught.value.retry_after is None


@pytest.mark.parametrize(
    ("status", "content"),
    [(403, '{"message":"Missing Authentication Token"}'), (502, "<html>"), (599, "")],
)
def test_a_gateways_own_answers_become_problems(status: int, content: str) -> None:
    answer = httpx.Response(status, content=content, headers={"x-amzn-RequestId": "g-1"})
    with pytest.raises(ServiceProblemError) as caught:
        use(Service(answer), lambda c: c.chat(CHAT))
    assert (caught.value.status, caught.value.code) == (status, f"http_{status}")
    assert caught.value.request_id == "g-1"


def test_the_status_line_counts_when_the_body_says_another() -> None:
    answer = problem(200, "x")
    answer.status_code = 500
    with pytest.raises(ServiceFailedError) as caught:
        use(Service(answer), lambda c: c.chat(CHAT))
    assert caught.value.status == 500


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"title": 5}'])
def test_a_malformed_problem_is_still_a_problem(body: bytes) -> None:
    answer = problem(409, "x")
    media_type = {"Content-Type": answer.headers["Content-Type"]}
    broken = httpx.Response(409, content=body, headers=media_type)
    with pytest.raises(ConflictError) as caught:
        use(Service(broken), lambda c: c.chat(CHAT))
    assert caught.value.code == "http_409"


def test_a_missing_session_is_none() -> None:
    assert use(Service(problem(404, "session_not_found")), lambda c: c.get_session("x")) is None


def test_a_missing_route_is_not_a_missing_session() -> None:
    with pytest.raises(NotFoundError):
        use(Service(problem(404, "not_found")), lambda c: c.get_session("x"))


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"{}", b'{"session_id": 1, "message": {}, "status": "x"}']
)
def test_an_answer_against_the_contract(content: bytes) -> None:
    with pytest.raises(InvalidAnswerError) as caught:
        use(Service(httpx.Response(200, content=content)), lambda c: c.chat(CHAT))
    assert "html" not in str(caught.value)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (httpx.ConnectError("refused"), ServiceUnreachableError),
        (httpx.RemoteProtocolError("cut"), ServiceUnreachableError),
        (httpx.ReadError(""), ServiceUnreachableError),
        (httpx.ReadTimeout(""), ServiceTimeoutError),
        (httpx.ConnectTimeout(""), ServiceTimeoutError),
        (httpx.PoolTimeout(""), ServiceTimeoutError),
    ],
)
@pytest.mark.parametrize("call", [lambda c: c.chat(CHAT), stream_of], ids=["whole", "stream"])
def test_transport_failures_have_a_type_and_are_not_repeated(
    failure: Exception, expected: type[ServiceError], call: Use
) -> None:
    service = Service(failure)
    with pytest.raises(ServiceError) as caught:
        use(service, call)
    assert type(caught.value) is expected
    assert len(service.requests) == 1


@pytest.mark.parametrize("failure", [httpx.ConnectError(""), httpx.ConnectTimeout("")])
def test_a_read_that_could_not_connect_is_repeated_once(failure: Exception) -> None:
    service = Service(failure, httpx.Response(200, json=[]))
    assert use(service, lambda c: c.list_providers()) == []
    assert len(service.requests) == 2

    service = Service(failure)
    with pytest.raises(ServiceError):
        use(service, lambda c: c.list_providers())
    assert len(service.requests) == 2


@pytest.mark.parametrize("failure", [httpx.ReadError(""), httpx.ReadTimeout("")])
def test_a_read_that_was_sent_is_not_repeated(failure: Exception) -> None:
    service = Service(failure)
    with pytest.raises(ServiceError):
        use(service, lambda c: c.list_providers())
    assert len(service.requests) == 1


def test_streams_chunks() -> None:
    chunk = examples.CHUNK | {"chunk": "größer 😀"}
    content = b": ping\n\nid: 1\nevent: chunk\n" + event(chunk) + event(examples.LAST_CHUNK) + DONE
    parts = [content[start : start + 5] for start in range(0, len(content), 5)]
    service = Service(event_stream(*parts))
    assert [c.model_dump(mode="json") for c in use(service, stream_of)] == [
        chunk,
        examples.LAST_CHUNK,
    ]
    [request] = service.requests
    assert json.loads(request.content)["stream"] is True
    assert request.headers["accept"].startswith("text/event-stream")


def test_a_chunk_is_given_before_the_next_is_read() -> None:
    answer = event_stream(event(examples.CHUNK), event(examples.LAST_CHUNK), DONE)
    stream = answer.stream
    assert isinstance(stream, Stream)

    async def run() -> None:
        async with AIServiceClient(BASE_URL, transport=Service(answer)) as client:
            chunks = client.chat_stream(CHAT)
            await anext(chunks)
            assert stream.taken == 1
            await anext(chunks)
            assert stream.taken == 2
            with pytest.raises(StopAsyncIteration):
                await anext(chunks)
            assert stream.closed

    asyncio.run(run())


def test_leaving_early_closes_the_answer() -> None:
    answer = event_stream(event(examples.CHUNK), event(examples.LAST_CHUNK), DONE)
    stream = answer.stream
    assert isinstance(stream, Stream)

    async def run() -> None:
        async with AIServiceClient(BASE_URL, transport=Service(answer)) as client:
            async with aclosing(client.chat_stream(CHAT)) as chunks:
                async for _ in chunks:
                    break
            assert stream.closed

    asyncio.run(run())


def test_a_failure_in_the_stream_is_a_chunk() -> None:
    service = Service(event_stream(event(examples.CHUNK), event(examples.FAILED_CHUNK), DONE))
    last = use(service, stream_of)[-1]
    assert last.finished
    assert last.error == v1.ChunkError(**examples.FAILED_CHUNK["error"])


def test_what_follows_the_end_is_not_read() -> None:
    service = Service(event_stream(event(examples.LAST_CHUNK), DONE, b"data: {\n\n"))
    assert len(use(service, stream_of)) == 1


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], StreamInterruptedError),
        ([event(examples.CHUNK)], StreamInterruptedError),
        ([event(examples.LAST_CHUNK), b"data: [DONE]"], StreamInterruptedError),
        ([event(examples.CHUNK), httpx.RemoteProtocolError("cut")], ServiceUnreachableError),
        ([event(examples.CHUNK), httpx.ReadTimeout("")], ServiceTimeoutError),
        ([b"data: {\n\n"], InvalidAnswerError),
        ([b'data: {"chunk": 5}\n\n'], InvalidAnswerError),
        ([b"data: \xff\n\n"], InvalidAnswerError),
    ],
)
def test_broken_streams(parts: list[bytes | Exception], expected: type[ServiceError]) -> None:
    answer = event_stream(*parts)
    stream = answer.stream
    assert isinstance(stream, Stream)
    with pytest.raises(ServiceError) as caught:
        use(Service(answer), stream_of)
    assert type(caught.value) is expected
    assert stream.closed


def test_a_stream_of_another_type_is_refused() -> None:
    service = Service(httpx.Response(200, json=examples.CHAT_RESPONSE))
    with pytest.raises(InvalidAnswerError, match="text/event-stream"):
        use(service, stream_of)


def test_from_environment() -> None:
    client = AIServiceClient.from_environment({"AI_SERVICE_URL": BASE_URL})
    assert isinstance(client, AIServiceClient)
    with pytest.raises(KeyError, match="AI_SERVICE_URL"):
        AIServiceClient.from_environment({})
    with pytest.raises(KeyError, match="AWS_REGION"):
        AIServiceClient.from_environment({"AI_SERVICE_URL": BASE_URL}, sign=True)
