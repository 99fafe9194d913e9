"""What Lambda says of a call of the browser function, and whether the batch may have run."""

import io

import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.response import StreamingBody
from botocore.session import get_session
from botocore.stub import Stubber

from contracts.browser.worker import WorkerCommand
from functions.browser.adapters.worker_function import WorkerFunction
from functions.browser.domain.session_errors import OutcomeUnknownError, WorkerUnavailableError
from tests.fakes.browser import reply

pytestmark = pytest.mark.anyio

NAME = "browser-worker"
COMMAND = WorkerCommand.model_validate(
    {
        "session_id": "s1",
        "epoch": 1,
        "store_to": "https://example.com/",
        "seconds": 20,
        "batch": {"steps": [{"action": "fill", "selector": "a", "text": "ü"}]},
    }
)
SENT = {"FunctionName": NAME, "Payload": COMMAND.model_dump_json().encode()}


@pytest.fixture
def client():
    return get_session().create_client(
        "lambda",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def stub(client):
    with Stubber(client) as stub:
        yield stub
        stub.assert_no_pending_responses()


def function(client, *, tenants=False):
    return WorkerFunction(NAME, tenants=tenants, wait_seconds=1, make=lambda: client)


def answer(content, **more):
    return {"StatusCode": 200, "Payload": StreamingBody(io.BytesIO(content), len(content)), **more}


@pytest.mark.parametrize(("tenants", "more"), [(True, {"TenantId": "s1"}), (False, {})])
async def test_the_session_is_the_tenant_where_there_are_tenants(client, stub, tenants, more):
    said = reply()
    stub.add_response("invoke", answer(said.model_dump_json().encode()), {**SENT, **more})
    assert await function(client, tenants=tenants).run(COMMAND) == said


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"\xff", b'{"half":', b'{"env_id":"e"}'], ids=repr
)
async def test_an_answer_that_is_no_object_leaves_the_outcome_unknown(client, stub, content):
    stub.add_response("invoke", answer(content), SENT)
    with pytest.raises(OutcomeUnknownError):
        await function(client).run(COMMAND)


async def test_a_failed_function_may_have_done_anything(client, stub):
    stub.add_response("invoke", answer(b'{"errorMessage":"x"}', FunctionError="Unhandled"), SENT)
    with pytest.raises(OutcomeUnknownError) as unknown:
        await function(client).run(COMMAND)
    assert unknown.value.detail is None


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("TooManyRequestsException", WorkerUnavailableError),
        ("ResourceNotFoundException", WorkerUnavailableError),
        ("ServiceException", OutcomeUnknownError),
    ],
)
async def test_a_refusal_says_whether_anything_ran(client, stub, code, error):
    stub.add_client_error("invoke", code)
    with pytest.raises(error):
        await function(client).run(COMMAND)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (EndpointConnectionError(endpoint_url="x"), WorkerUnavailableError),
        (ReadTimeoutError(endpoint_url="x"), OutcomeUnknownError),
    ],
)
async def test_silence_says_so_too(client, monkeypatch, failure, error):
    def invoke(**_):
        raise failure

    monkeypatch.setattr(client, "invoke", invoke)
    with pytest.raises(error):
        await function(client).run(COMMAND)
