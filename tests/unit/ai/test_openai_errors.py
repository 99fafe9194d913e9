"""What the errors of Chat Completions mean, in the shapes that servers are known to send."""

import logging
import ssl

import anyio
import httpx2
import openai
import pytest

from functions.ai.adapters.openai_errors import is_refused_key, refusal, to_app_error
from functions.ai.domain.errors import (
    ContentRefusedError,
    ContextTooLongError,
    ModelUnavailableError,
    ProviderAuthError,
    ProviderError,
    ProviderRejectedError,
    ProviderThrottledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)

SECRET = "what the caller wrote"
REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1")


def told(message=SECRET, **fields):
    return {"error": {"message": message, **fields}}


def google(status, message=SECRET, **fields):
    return [told(message, status=status, **fields)]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        # OpenAI.
        (400, told(code="context_length_exceeded", type="x"), ContextTooLongError),
        (400, told(code="invalid_prompt", type="invalid_request_error"), ContentRefusedError),
        (400, told(code="content_policy_violation"), ContentRefusedError),
        (400, told(code="content_filter"), ContentRefusedError),
        (400, told(code=None, type="invalid_request_error"), ProviderRejectedError),
        (401, told(code=None, type="invalid_request_error"), ProviderAuthError),
        (403, told(code="unsupported_country_region_territory"), ProviderAuthError),
        (404, told(code="model_not_found"), ModelUnavailableError),
        (403, told(code="model_not_found"), ModelUnavailableError),
        (429, told(code="rate_limit_exceeded", type="requests"), ProviderThrottledError),
        (429, told(code=None, type="insufficient_quota"), ProviderAuthError),
        (429, told(code="credit_balance_exhausted"), ProviderAuthError),
        (500, told(type="server_error"), ProviderUnavailableError),
        (503, told(code="slow_down"), ProviderThrottledError),
        # Gemini.
        (400, google("INVALID_ARGUMENT"), ProviderRejectedError),
        (400, google("INVALID_ARGUMENT", "API key not valid."), ProviderAuthError),
        (400, google("FAILED_PRECONDITION"), ProviderAuthError),
        (
            400,
            google("INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number"),
            ContextTooLongError,
        ),
        (404, google("NOT_FOUND"), ModelUnavailableError),
        (503, google("UNAVAILABLE"), ProviderUnavailableError),
        # vLLM, Ollama, and what stands in front of servers.
        (
            400,
            {"object": "error", "message": "This model's maximum context length is 4096 tokens."},
            ContextTooLongError,
        ),
        (404, {"error": "model not found"}, ModelUnavailableError),
        (400, {"detail": [{"msg": "x"}]}, ProviderRejectedError),
        (422, {"detail": [{"msg": "x"}]}, ProviderRejectedError),
        (503, "<html>", ProviderUnavailableError),
        (502, None, ProviderUnavailableError),
        (529, [], ProviderUnavailableError),
        (524, None, ProviderTimeoutError),
        (408, None, ProviderTimeoutError),
        (413, None, ContextTooLongError),
        (302, None, ProviderError),
        # Inside a stream.
        (None, told(code=429), ProviderThrottledError),
        (None, told(code="server_error"), ProviderUnavailableError),
        (None, told(), ProviderError),
        (None, {"error": True}, ProviderError),
        (None, told(code=[1], type={}), ProviderError),
    ],
)
def test_refusals(caplog, status, body, expected):
    with caplog.at_level(logging.DEBUG, "functions"):
        error = refusal("openai", body, status)
    assert type(error) is expected
    assert SECRET not in f"{error}{error.detail}{caplog.text}{vars(caplog.records[0])}"
    assert caplog.records[0].status == (429 if body == told(code=429) else status)


def test_a_name_that_is_not_known_is_not_repeated(caplog):
    refusal("openai", told(code=SECRET, type=SECRET), 400)
    assert SECRET not in str(vars(caplog.records[0]))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", "7"),
        ("0", "0"),
        ("1.2", "2"),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("inf", None),
        ("1e300", None),
        ("nan", None),
        ("Fri, 27 Nov 2026 20:00:00 GMT", None),
    ],
)
def test_how_long_to_wait(header, expected):
    assert refusal("openai", None, 429, header).headers.get("Retry-After") == expected


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ([{"retryDelay": "33.2s"}], "34"),
        ([{"x": 1}, {"retryDelay": "5s"}], "5"),
        ([{"retryDelay": 5}], None),
        ([{"retryDelay": "s"}], None),
        ("5s", None),
        ([None], None),
    ],
)
def test_how_long_google_asks_to_wait(details, expected):
    error = refusal("gemini", google("RESOURCE_EXHAUSTED", details=details), 429)
    assert error.headers.get("Retry-After") == expected


def connection_error(cause):
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (openai.APITimeoutError(request=REQUEST), ProviderTimeoutError),
        (httpx2.ReadTimeout("x"), ProviderTimeoutError),
        (connection_error(httpx2.ConnectError(SECRET)), ProviderUnavailableError),
        (connection_error(httpx2.RemoteProtocolError(SECRET)), ProviderUnavailableError),
        (httpx2.ReadError(SECRET), ProviderUnavailableError),
        (httpx2.RemoteProtocolError(SECRET), ProviderUnavailableError),
        (httpx2.DecodingError(SECRET), ProviderUnavailableError),
        (ssl.SSLError(SECRET), ProviderUnavailableError),
        (anyio.EndOfStream(), ProviderUnavailableError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_failed_connections(caplog, error, expected):
    meaning = to_app_error("openai", error)
    assert type(meaning) is expected
    assert SECRET not in f"{meaning}{caplog.text}{vars(caplog.records[0])}"


@pytest.mark.parametrize(
    "error",
    [
        TypeError("bug"),
        KeyError("bug"),
        UnicodeEncodeError("ascii", "ä", 0, 1, "bug"),
        connection_error(httpx2.LocalProtocolError("bug")),
        connection_error(httpx2.UnsupportedProtocol("bug")),
        openai.OpenAIError("bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_bugs_are_no_failures_of_the_provider(error):
    assert to_app_error("openai", error) is None


def status_error(status, body):
    response = httpx2.Response(status, request=REQUEST)
    return openai.APIStatusError(SECRET, response=response, body=body)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (status_error(401, None), True),
        (status_error(400, google("INVALID_ARGUMENT", "API key not valid.")), True),
        (
            status_error(400, google("INVALID_ARGUMENT", details=[{"reason": "API_KEY_INVALID"}])),
            True,
        ),
        (status_error(400, google("INVALID_ARGUMENT")), False),
        (status_error(403, None), False),
        (status_error(429, told(code="insufficient_quota")), False),
        (ProviderAuthError(), False),
    ],
)
def test_which_refusals_another_key_may_help(error, refused):
    assert is_refused_key(error) is refused
