"""Signatures, computed again here from the specification of AWS Signature Version 4."""

import asyncio
import datetime as dt
import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, unquote

import botocore.auth
import httpx
import pytest
from botocore.credentials import Credentials, ReadOnlyCredentials

from contracts.ai import examples, v1
from contracts.ai.client import AIServiceClient
from contracts.client.errors import SigningError
from contracts.client.signing import SigV4
from contracts.client.transport import CallOptions

# The credentials of AWS's own test suite for the signature.
ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = dt.datetime(2015, 8, 30, 12, 36, tzinfo=dt.UTC)
BASE_URL = "https://example.execute-api.us-east-1.amazonaws.com/live"


def hmac_sha256(key: bytes, message: str) -> bytes:
    return hmac.new(key, message.encode(), hashlib.sha256).digest()


def expected_signature(
    request: httpx.Request, signed_headers: list[str], body: bytes, service: str = "execute-api"
) -> str:
    """The signature as the specification's four tasks make it."""
    path, _, query = request.url.raw_path.decode().partition("?")
    pairs = sorted(
        (quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~"))
        for name, _, value in (pair.partition("=") for pair in query.split("&") if pair)
    )
    canonical = "\n".join(
        [
            request.method,
            quote(path, safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{request.headers[name].strip()}" for name in signed_headers),
            "",
            ";".join(signed_headers),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    time = request.headers["x-amz-date"]
    scope = f"{time[:8]}/us-east-1/{service}/aws4_request"
    to_sign = "\n".join(
        ["AWS4-HMAC-SHA256", time, scope, hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (time[:8], "us-east-1", service, "aws4_request"):
        key = hmac_sha256(key, part)
    return hmac_sha256(key, to_sign).hex()


class Recorder(httpx.AsyncBaseTransport):
    def __init__(self, body: object) -> None:
        self.requests: list[tuple[httpx.Request, bytes]] = []
        self.body = body

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((request, await request.aread()))
        return httpx.Response(200, json=self.body)


def authorization(request: httpx.Request) -> dict[str, str]:
    algorithm, _, rest = request.headers["authorization"].partition(" ")
    assert algorithm == "AWS4-HMAC-SHA256"
    return dict(part.split("=", 1) for part in rest.split(", "))


def assert_signed(request: httpx.Request, body: bytes, headers: list[str]) -> None:
    parts = authorization(request)
    assert parts["Credential"] == f"{ACCESS_KEY}/20150830/us-east-1/execute-api/aws4_request"
    assert parts["SignedHeaders"].split(";") == headers
    assert parts["Signature"] == expected_signature(request, headers, body)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW)


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ("", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
    ],
)
def test_the_expectation_meets_the_published_vectors(query: str, signature: str) -> None:
    # get-vanilla and get-vanilla-query-order-key-case of AWS's test suite.
    request = httpx.Request(
        "GET",
        f"https://example.amazonaws.com/{query}",
        headers={"x-amz-date": "20150830T123600Z"},
    )
    assert expected_signature(request, ["host", "x-amz-date"], b"", "service") == signature


async def call_once(
    recorder: Recorder, auth: httpx.Auth, call: Callable[[AIServiceClient], Awaitable[object]]
) -> tuple[httpx.Request, bytes]:
    async with AIServiceClient(BASE_URL, auth=auth, transport=recorder) as client:
        await call(client)
    return recorder.requests[-1]


def signer() -> SigV4:
    return SigV4(region="us-east-1", credentials=Credentials(ACCESS_KEY, SECRET_KEY))


def test_signs_a_post_with_its_body() -> None:
    session = v1.SessionCreate.model_validate(examples.SESSION_CREATE)
    options = CallOptions(request_id="r-1", idempotency_key="k-1")
    request, body = asyncio.run(
        call_once(
            Recorder(examples.SESSION),
            signer(),
            lambda client: client.create_session(session, 3, options=options),
        )
    )
    assert request.url == f"{BASE_URL}/api/v1/sessions?user_id=3"
    assert json.loads(body) == examples.SESSION_CREATE
    assert_signed(request, body, ["content-type", "host", "x-amz-content-sha256", "x-amz-date"])
    assert request.headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
    assert request.headers["x-request-id"] == "r-1"


def test_signs_paths_and_queries_that_need_quoting() -> None:
    request, body = asyncio.run(
        call_once(
            Recorder(examples.MESSAGE_PAGE),
            signer(),
            lambda client: client.list_messages("a b/ü", cursor="x+y /=&~", limit=5),
        )
    )
    path = "/live/api/v1/sessions/a%20b%2F%C3%BC/messages"
    assert request.url.raw_path == f"{path}?limit=5&cursor=x%2By%20%2F%3D%26~".encode()
    assert_signed(request, body, ["host", "x-amz-content-sha256", "x-amz-date"])


def test_signs_the_session_token() -> None:
    auth = SigV4(
        region="us-east-1", credentials=Credentials(ACCESS_KEY, SECRET_KEY, token="session-token")
    )
    request, body = asyncio.run(
        call_once(Recorder([]), auth, lambda client: client.list_providers())
    )
    assert request.headers["x-amz-security-token"] == "session-token"
    assert_signed(
        request,
        body,
        ["host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"],
    )


def test_a_changed_body_does_not_meet_its_signature() -> None:
    message = v1.MessageCreate(role="user", content="hello")
    request, body = asyncio.run(
        call_once(
            Recorder(examples.USER_MESSAGE),
            signer(),
            lambda client: client.add_message("s", message),
        )
    )
    names = authorization(request)["SignedHeaders"].split(";")
    changed = body.replace(b"hello", b"HELLO")
    assert authorization(request)["Signature"] != expected_signature(request, names, changed)


def test_asks_for_the_credentials_of_each_request() -> None:
    class Rotating(Credentials):
        number = 0

        def get_frozen_credentials(self) -> ReadOnlyCredentials:
            self.number += 1
            return ReadOnlyCredentials(f"KEY{self.number}", SECRET_KEY, None)

    async def run() -> list[str]:
        recorder = Recorder([])
        auth = SigV4(region="us-east-1", credentials=Rotating("", ""))
        async with AIServiceClient(BASE_URL, auth=auth, transport=recorder) as client:
            await client.list_providers()
            await client.list_providers()
        return [authorization(request)["Credential"][:4] for request, _ in recorder.requests]

    assert asyncio.run(run()) == ["KEY1", "KEY2"]


def test_signs_for_synchronous_clients() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200)

    with httpx.Client(transport=httpx.MockTransport(answer), auth=signer()) as client:
        client.post(f"{BASE_URL}/api/v1/chat", json={"a": 1})
    [request] = requests
    assert_signed(
        request,
        request.content,
        ["content-type", "host", "x-amz-content-sha256", "x-amz-date"],
    )


def test_missing_credentials_are_said_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    recorder = Recorder([])
    with pytest.raises(SigningError, match="No AWS credentials"):
        asyncio.run(
            call_once(recorder, SigV4(region="us-east-1"), lambda client: client.list_providers())
        )
    assert recorder.requests == []


def test_takes_credentials_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    request, body = asyncio.run(
        call_once(Recorder([]), SigV4(region="us-east-1"), lambda client: client.list_providers())
    )
    assert_signed(request, body, ["host", "x-amz-content-sha256", "x-amz-date"])


def test_the_client_loads_no_sdk_until_it_signs() -> None:
    code = "import sys, contracts.ai.client; sys.exit('botocore' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
