"""Calls to AWS."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from servicekit.aws import guarded
from servicekit.errors import StoreUnavailableError


def failing(error):
    def call():
        raise error

    return call


def test_what_a_call_returns_comes_through():
    assert guarded("S3", StoreUnavailableError, lambda: 7) == 7


@pytest.mark.parametrize(
    ("error", "logged", "code"),
    [
        (
            ClientError({"Error": {"Code": "SlowDown", "Message": "of s3cret"}}, "PutObject"),
            "S3 refused",
            "SlowDown",
        ),
        (EndpointConnectionError(endpoint_url="http://x"), "S3 does not answer", None),
    ],
)
def test_a_failure_is_logged_by_its_code_and_raised_as_the_callers_own(error, logged, code, caplog):
    with pytest.raises(StoreUnavailableError) as raised:
        guarded("S3", StoreUnavailableError, failing(error))
    assert raised.value.headers == {"Retry-After": "1"}
    assert raised.value.__cause__ is None
    (record,) = caplog.records
    assert record.getMessage() == logged
    assert getattr(record, "aws_code", None) == code


def test_what_is_no_failure_of_aws_is_not_taken_for_one():
    with pytest.raises(KeyError):
        guarded("S3", StoreUnavailableError, failing(KeyError("mine")))
