"""When a failed call is repeated, and where."""

import random

import pytest

from functions.ai.domain import errors as of
from functions.ai.domain.retries import (
    FIRST_CONTENT_SECONDS,
    MAX_ATTEMPTS,
    MAX_PAUSE_SECONDS,
    answered,
    may_fail_over,
    retry_pause,
)
from servicekit.errors import AppError, InternalError, StoreUnavailableError

REPEATED = [of.ProviderThrottledError, of.ProviderUnavailableError]
OF_TARGET = [
    *REPEATED,
    of.ProviderTimeoutError,
    of.ProviderAuthError,
    of.ProviderKeyMissingError,
    of.ModelUnavailableError,
    of.ProviderError,
    InternalError,
]
OF_REQUEST = [
    of.ProviderRejectedError,
    of.ContextTooLongError,
    of.ContentRefusedError,
    of.AnswerTooLargeError,
]
OF_NEITHER = [of.TurnCancelledError, of.TurnLostError, StoreUnavailableError]
API_GATEWAY_SECONDS = 300


def top():
    return 1 - 2**-53


@pytest.mark.parametrize("kind", REPEATED)
def test_pauses_grow_with_full_jitter(kind):
    longest = [retry_pause(kind(), n, FIRST_CONTENT_SECONDS, top) for n in (1, 2)]
    assert longest == pytest.approx([0.5, 1.0])
    assert retry_pause(kind(), 2, FIRST_CONTENT_SECONDS, lambda: 0.0) == 0
    chance = random.Random(7)
    pauses = [retry_pause(kind(), 2, FIRST_CONTENT_SECONDS, chance.random) for _ in range(2_000)]
    assert sum(pauses) / len(pauses) == pytest.approx(0.5, abs=0.03)
    assert retry_pause(kind(), MAX_ATTEMPTS, FIRST_CONTENT_SECONDS, top) is None


@pytest.mark.parametrize("kind", [k for k in OF_TARGET + OF_REQUEST if k not in REPEATED])
def test_whatever_else_fails_is_not_asked_again(kind):
    assert retry_pause(kind(), 1, FIRST_CONTENT_SECONDS, top) is None


def test_the_providers_time_is_kept():
    error = of.ProviderThrottledError(retry_after=4)
    assert retry_pause(error, 1, 60, lambda: 0.0) == 4
    assert retry_pause(error, 1, 60, top) == pytest.approx(4.5)
    assert retry_pause(of.ProviderThrottledError(retry_after=0), 1, 60, lambda: 0.0) == 0


def test_nobody_waits_for_what_does_not_fit():
    patient = int(MAX_PAUSE_SECONDS)
    at_once = [(patient, 60.0, True), (patient + 1, 60.0, False), (4, 4.0, False), (4, 4.1, True)]
    for retry_after, left, fits in at_once:
        error = of.ProviderThrottledError(retry_after=retry_after)
        assert (retry_pause(error, 1, left, lambda: 0.0) is not None) is fits
    assert retry_pause(of.ProviderUnavailableError(), 1, 0, lambda: 0.0) is None


def test_a_time_that_is_no_number_is_none():
    error = of.ProviderThrottledError(headers={"Retry-After": "Fri, 31 Dec 2026 23:59:59 GMT"})
    assert retry_pause(error, 1, 60, lambda: 0.0) == 0


def test_a_call_that_does_not_stream_has_time_for_its_answer():
    assert FIRST_CONTENT_SECONDS <= API_GATEWAY_SECONDS / 2
    assert MAX_ATTEMPTS * MAX_PAUSE_SECONDS < FIRST_CONTENT_SECONDS


@pytest.mark.parametrize("kind", OF_TARGET)
def test_errors_of_a_target_lead_to_another(kind):
    assert may_fail_over(kind())
    assert not answered(kind())


@pytest.mark.parametrize("kind", OF_REQUEST)
def test_errors_of_the_request_are_the_same_everywhere(kind):
    assert not may_fail_over(kind())
    assert answered(kind())


@pytest.mark.parametrize("kind", OF_NEITHER)
def test_errors_of_this_service_say_nothing_of_the_target(kind):
    error = kind("t1") if kind is not StoreUnavailableError else kind()
    assert not may_fail_over(error)
    assert not answered(error)


def test_every_error_of_a_provider_is_judged():
    def below(kind: type[AppError]) -> set[type[AppError]]:
        return {kind}.union(*(below(k) for k in kind.__subclasses__()))

    assert below(of.ProviderError) <= {*OF_TARGET, *OF_REQUEST}
    assert answered(None)
