"""One service's front door, in this process: what reaches the API and what comes back."""

import asyncio
import datetime as dt
import json

import httpx
import pytest

from localcloud.door.operator import Session, canonical_query
from localcloud.door.plan import ServicePlan
from localcloud.door.service import REQUEST_CONTEXT, ServiceDoor

ENDPOINT = "http://127.0.0.1:4566"
BASE = "/_aws/execute-api/abc123/live"
JSON = {"content-type": "application/json"}


class Operator:
    async def session(self):
        return Session("AKID", "secret", "token", dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))


class Application:
    """Stands in for a streamed application."""

    def __init__(self):
        self.calls = []

    async def answer(self, request, context, send, receive):
        self.calls.append((request, context))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return 200


class Api:
    """The deployed API: keeps what it got and gives one answer."""

    def __init__(self, answer=None):
        self.requests = []
        self.answer = answer or httpx.Response(200, json={"ok": True})

    def __call__(self, request):
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        # Its body not read yet, as one that comes over a wire.
        answer = self.answer
        stream = httpx.ByteStream(answer.content)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=stream)

    @property
    def target(self):
        return self.requests[-1].extensions["target"].decode()


def call(api, method, path, *, api_id="abc123", application=None, headers=None, content=b""):
    async def run():
        async with httpx.AsyncClient(transport=httpx.MockTransport(api)) as upstream:
            door = ServiceDoor(
                ServicePlan(name="ai", health_name="ai-service", port=8001, api_id=api_id),
                endpoint=ENDPOINT,
                operator=Operator(),
                client=upstream,
                streamed=[application] if application else [],
            )
            transport = httpx.ASGITransport(door)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost:8001"
            ) as client:
                return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(run())


def code(response):
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem["code"]


def test_an_unsigned_request_is_signed_as_the_operator():
    api = Api()
    response = call(api, "POST", "/api/v1/sessions?b=2&a=%20x", headers=JSON, content=b'{"a": 1}')
    assert response.status_code == 200
    (sent,) = api.requests
    assert api.target == f"{BASE}/api/v1/sessions?b=2&a=%20x"
    assert sent.headers["host"] == "127.0.0.1:4566"
    assert sent.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert "/us-east-1/execute-api/aws4_request" in sent.headers["authorization"]
    assert sent.headers["x-amz-security-token"] == "token"
    assert sent.read() == b'{"a": 1}'


def test_a_request_id_is_made_where_the_client_sent_none_and_kept_where_it_did():
    api = Api()
    made = call(api, "GET", "/health").headers["x-request-id"]
    assert api.requests[-1].headers["x-request-id"] == made
    kept = call(api, "GET", "/health", headers={"x-request-id": "mine"})
    assert kept.headers["x-request-id"] == "mine"
    assert api.requests[-1].headers.get_list("x-request-id") == ["mine"]


def test_a_clients_own_signing_headers_do_not_disturb_the_operators():
    api = Api()
    call(api, "GET", "/health", headers={"x-amz-date": "x", "x-amz-security-token": "theirs"})
    assert api.requests[-1].headers.get_list("x-amz-security-token") == ["token"]


def test_another_authorization_is_the_apis_to_judge():
    api = Api()
    call(api, "GET", "/projects", headers={"authorization": "Bearer person"})
    assert api.requests[-1].headers["authorization"] == "Bearer person"
    assert "x-amz-date" not in api.requests[-1].headers


def test_a_signed_request_at_the_apis_address_passes_unchanged():
    api = Api()
    headers = {"authorization": "AWS4-HMAC-SHA256 Credential=x", "x-amz-date": "d", **JSON}
    call(api, "POST", f"{BASE}/api/v1/sessions?z=%2f&a", headers=headers, content=b"{}")
    (sent,) = api.requests
    assert api.target == f"{BASE}/api/v1/sessions?z=%2f&a"
    assert sent.headers["host"] == "localhost:8001"
    assert sent.headers["authorization"] == "AWS4-HMAC-SHA256 Credential=x"
    assert "x-request-id" not in sent.headers


def test_headers_of_the_connection_stay_with_it_at_the_apis_address():
    """An upgrade of the connection to the API would leave the front door without an answer."""
    api = Api()
    headers = {
        "connection": "Upgrade, HTTP2-Settings",
        "upgrade": "h2c",
        "http2-settings": "AAMAAABkAARAAAAAAAIAAAAA",
        "content-length": "2",
        "transfer-encoding": "chunked",
        **JSON,
    }
    call(api, "POST", f"{BASE}/api/v1/sessions", headers=headers, content=b"{}")
    (sent,) = api.requests
    assert not {"upgrade", "http2-settings", "transfer-encoding"} & set(sent.headers)
    assert sent.headers["content-length"] == "2"


def test_nothing_is_signed_at_the_apis_address():
    api = Api(httpx.Response(403, json={"message": "Missing Authentication Token"}))
    assert call(api, "GET", f"{BASE}/api/v1/sessions").status_code == 403
    assert "authorization" not in api.requests[-1].headers


@pytest.mark.parametrize("path", ["/_aws/execute-api/other/live/x", f"{BASE}x/health"])
def test_apis_of_others_are_out_of_reach(path):
    api = Api()
    assert code(call(api, "GET", path)) == "unknown_api"
    assert api.requests == []


def test_a_signature_for_a_bare_path_is_answered_with_the_right_address():
    api = Api()
    response = call(api, "GET", "/api/v1/sessions", headers={"authorization": "AWS4-HMAC-SHA256 x"})
    assert response.status_code == 421
    assert f"http://localhost:8001{BASE}/api/v1/sessions" in response.json()["detail"]
    assert api.requests == []


def test_a_service_that_is_not_deployed_says_so():
    response = call(Api(), "GET", "/health", api_id=None)
    assert response.status_code == 503
    assert "ai-service is not deployed yet" in response.json()["detail"]


def test_refusals_are_problems_and_never_reach_the_api():
    api = Api()
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert code(call(api, "POST", "/api/v1/chat", headers=form, content=b"a=1")) == (
        "unsupported_media_type"
    )
    assert code(call(api, "GET", "/health", headers={"host": "evil"})) == "foreign_host"
    assert code(call(api, "GET", "/health", headers={"origin": "http://evil"})) == "foreign_origin"
    assert code(call(api, "GET", "/x?a=%ff")) == "malformed_query"
    assert api.requests == []


def test_a_body_over_the_limit_is_refused_also_where_no_length_was_declared():
    async def chunks():
        for _ in range(11):
            yield b"x" * 1024 * 1024

    api = Api()
    response = call(api, "POST", "/api/v1/chat", headers=JSON, content=chunks())
    assert response.status_code == 413
    assert code(response) == "request_too_large"
    assert api.requests == []


def test_the_apis_answer_comes_back_as_it_is():
    answer = httpx.Response(
        201,
        headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Connection", "close")],
        content=b"\x00\xffbytes",
    )
    response = call(Api(answer), "GET", "/x")
    assert response.status_code == 201
    assert response.content == b"\x00\xffbytes"
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert "connection" not in response.headers


def test_a_cloud_that_does_not_answer_is_said():
    response = call(Api(httpx.ConnectError("refused")), "GET", "/health")
    assert response.status_code == 502
    assert code(response) == "cloud_unreachable"
    assert "refused" not in response.text


def authorized(document='{"identity":\n {"userArn": "x"}}'):
    return httpx.Response(
        200, headers={"content-type": f"{REQUEST_CONTEXT}; charset=utf-8"}, text=document
    )


@pytest.mark.parametrize("prefix", ["", BASE])
def test_an_authorized_streamed_call_goes_to_the_application(prefix):
    application = Application()
    response = call(
        Api(authorized()),
        "POST",
        f"{prefix}/api/v1/chat/stream?x=1",
        application=application,
        headers=JSON,
        content=b"{}",
    )
    assert response.content == b"data: 1\n\n"
    ((request, context),) = application.calls
    assert json.loads(context) == {"identity": {"userArn": "x"}}
    assert b"\n" not in context
    assert (request.path, request.query, request.body) == ("/api/v1/chat/stream", "x=1", b"{}")


def test_a_refused_streamed_call_does_not():
    application = Application()
    api = Api(httpx.Response(403, headers={"content-type": REQUEST_CONTEXT}, text="{}"))
    assert call(api, "POST", "/api/v1/chat", application=application).status_code == 403
    assert application.calls == []


def test_a_streamed_call_without_an_application_is_a_problem():
    response = call(Api(authorized()), "POST", "/api/v1/chat")
    assert response.status_code == 502
    assert code(response) == "no_application"


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("", ""),
        ("a=1&b", "a=1&b="),
        ("a=b+c", "a=b%20c"),
        ("a=~*'%2f", "a=~%2A%27%2F"),
        ("a=%zz", "a=%25zz"),
        ("b=1&a=2&b=3", "b=1&a=2&b=3"),
        ("a=b=c", "a=b%3Dc"),
    ],
)
def test_queries_are_put_into_the_form_that_a_signature_covers(query, canonical):
    assert canonical_query(query) == canonical


def test_an_error_of_the_door_itself_is_logged_without_content(caplog):
    application = Application()
    secret = authorized("[not JSON secret-4711")
    with pytest.raises(json.JSONDecodeError):
        call(Api(secret), "POST", "/api/v1/chat", application=application, headers=JSON)
    (logged,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert logged.error == "JSONDecodeError"
    assert "decoder.py:" in logged.at
    assert "secret-4711" not in caplog.text
