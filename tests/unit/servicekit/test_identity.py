"""The caller in API Gateway's request context."""

import json

import pytest

from servicekit.errors import UnauthenticatedError
from servicekit.identity import (
    Caller,
    ForbiddenHeaderError,
    GatewayContext,
    InvalidRequestContextError,
    buffered_context,
    require_caller,
    streamed_context,
)

ROLE = "arn:aws:sts::1:assumed-role/caller"
NOBODY = GatewayContext(None, None)


def read_both(context):
    """What both readers make of a context; they never disagree."""
    header = (b"X-Amzn-Request-Context", json.dumps(context).encode())
    streamed = streamed_context({"headers": [header]})
    assert buffered_context({"headers": [], "aws.event": {"requestContext": context}}) == streamed
    return streamed


@pytest.mark.parametrize(
    ("arn", "principal"),
    [
        (f"{ROLE}/session-1", ROLE),
        (f"{ROLE}/a=b,c.d@e-f", ROLE),
        ("arn:aws-cn:sts::1:assumed-role/r/s", "arn:aws-cn:sts::1:assumed-role/r"),
        ("arn:aws:iam::1:user/team/ann", "arn:aws:iam::1:user/team/ann"),
        ("arn:aws:iam::1:root", "arn:aws:iam::1:root"),
    ],
)
def test_a_role_is_the_same_caller_in_all_its_sessions(arn, principal):
    context = {"requestId": "r1", "identity": {"userArn": arn}}
    assert read_both(context) == GatewayContext("r1", Caller(principal))


@pytest.mark.parametrize(
    "identity", [None, "text", [], {}, {"userArn": None}, {"userArn": ""}, {"userArn": 1}]
)
def test_without_an_arn_nobody_calls(identity):
    assert read_both({"requestId": "r1", "identity": identity}) == GatewayContext("r1", None)
    assert read_both({"requestId": 7, "identity": identity}) == NOBODY


@pytest.mark.parametrize("event", [None, "text", {}, {"requestContext": None}])
def test_an_event_without_context_is_nobody(event):
    assert buffered_context({"headers": [], "aws.event": event}) == NOBODY
    assert buffered_context({"headers": []}) == NOBODY
    assert streamed_context({"headers": []}) == NOBODY


def test_the_header_counts_in_no_spelling_where_the_event_does():
    for name in (b"x-amzn-request-context", b"X-AMZN-REQUEST-CONTEXT"):
        with pytest.raises(ForbiddenHeaderError):
            buffered_context({"headers": [(name, b"{}")]})
        with pytest.raises(InvalidRequestContextError):
            streamed_context({"headers": [(name, b"{}"), (b"x-amzn-request-context", b"{}")]})


@pytest.mark.parametrize("caller", [None, {"principal": ROLE}, ROLE])
def test_only_a_caller_that_the_middleware_read_is_one(caller):
    with pytest.raises(UnauthenticatedError):
        require_caller({"santaclaude.caller": caller})
    with pytest.raises(UnauthenticatedError):
        require_caller({})
