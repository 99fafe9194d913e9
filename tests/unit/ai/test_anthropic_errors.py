"""What a caller is told of Anthropic's errors, and that their texts stay here."""

import logging

import httpx2
import pytest
from anthropic import APIConnectionError, APITimeoutError

from functions.ai.adapters.anthropic_errors import refusal, to_app_error
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

SECRET = "the prompt, quoted"
REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1/messages")


def body(kind, message=SECRET):
    return {"type": "error", "error": {"type": kind, "message": message}}


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("api_error", ProviderUnavailableError),
        ("authentication_error", ProviderAuthError),
        ("billing_error", ProviderAuthError),
        ("invalid_request_error", ProviderRejectedError),
        ("not_found_error", ModelUnavailableError),
        ("overloaded_error", ProviderUnavailableError),
        ("permission_error", ProviderAuthError),
        ("rate_limit_error", ProviderThrottledError),
        ("request_too_large", ContextTooLongError),
        ("timeout_error", ProviderTimeoutError),
        ("something_new", ProviderError),
    ],
)
def test_within_a_stream_the_type_says_it(kind, error):
    assert type(refusal(body(kind))) is error


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("prompt is too long: 200001 tokens > 200000 maximum", ContextTooLongError),
        ("input length and `max_tokens` exceed context limit: 9 > 8", ContextTooLongError),
        ("Output blocked by content filtering policy", ContentRefusedError),
        ("Your credit balance is too low to access the Anthropic API.", ProviderAuthError),
        ("messages.0: all is wrong", ProviderRejectedError),
    ],
)
def test_invalid_requests_are_told_apart_by_their_words(message, error):
    assert type(refusal(body("invalid_request_error", message), 400)) is error


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, ProviderRejectedError),
        (401, ProviderAuthError),
        (402, ProviderAuthError),
        (403, ProviderAuthError),
        (404, ModelUnavailableError),
        (408, ProviderTimeoutError),
        (413, ContextTooLongError),
        (418, ProviderRejectedError),
        (429, ProviderThrottledError),
        (500, ProviderUnavailableError),
        (502, ProviderUnavailableError),
        (504, ProviderTimeoutError),
        (529, ProviderUnavailableError),
    ],
)
@pytest.mark.parametrize("said", [None, "<html>", {"error": "oops"}, body("something_new")])
def test_without_a_known_type_the_status_says_it(status, error, said):
    assert type(refusal(said, status)) is error


def test_the_providers_words_are_neither_answered_nor_logged(caplog):
    with caplog.at_level(logging.DEBUG):
        answers = [
            refusal(body("invalid_request_error"), 400),
            refusal(body(SECRET), 400, retry_after=3),
        ]
    assert all(answer.detail is None for answer in answers)
    assert answers[1].headers == {"Retry-After": "3"}
    assert len(caplog.records) == 2
    assert SECRET not in repr([vars(record) for record in caplog.records])


@pytest.mark.parametrize(
    ("cause", "error"),
    [
        (httpx2.ConnectError("refused"), ProviderUnavailableError),
        (httpx2.ReadError("reset"), ProviderUnavailableError),
        (httpx2.RemoteProtocolError("gone"), ProviderUnavailableError),
        (httpx2.ProxyError("no"), ProviderUnavailableError),
    ],
)
def test_a_connection_that_fails(cause, error):
    failure = APIConnectionError(request=REQUEST)
    failure.__cause__ = cause
    assert type(to_app_error(failure)) is error


def test_a_connection_that_takes_too_long():
    failure = APITimeoutError(request=REQUEST)
    failure.__cause__ = httpx2.ConnectTimeout("late")
    assert type(to_app_error(failure)) is ProviderTimeoutError


@pytest.mark.parametrize("cause", [TypeError("ours"), httpx2.LocalProtocolError("ours"), None])
def test_a_mistake_of_ours_is_not_the_providers(cause):
    failure = APIConnectionError(request=REQUEST)
    failure.__cause__ = cause
    with pytest.raises(APIConnectionError):
        to_app_error(failure)
