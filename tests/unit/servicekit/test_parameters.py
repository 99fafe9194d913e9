"""Parameters, kept for minutes; the addresses that they hold."""

from types import SimpleNamespace

import pytest
from botocore.exceptions import EndpointConnectionError

from servicekit.aws import ApiAddress, api_address
from servicekit.parameters import KEPT_SECONDS, Parameter, ParameterUnavailableError

pytestmark = pytest.mark.anyio

URL = "https://abc123.execute-api.eu-west-1.amazonaws.com/live"


class Ssm:
    def __init__(self) -> None:
        self.value = "one"
        self.calls = 0
        self.down = False

    def get_parameter(self, Name):  # noqa: N803 - AWS's name
        self.calls += 1
        assert Name == "/a/b"
        if self.down:
            raise EndpointConnectionError(endpoint_url="x")
        return {"Parameter": {"Value": self.value}}


@pytest.fixture
def ssm():
    return Ssm()


@pytest.fixture
def time():
    return SimpleNamespace(now=0.0)


@pytest.fixture
def parameter(ssm, time):
    return Parameter("/a/b", lambda: ssm, lambda: time.now)


async def test_a_value_is_kept_for_minutes(parameter, ssm, time):
    assert [await parameter.get() for _ in range(3)] == ["one"] * 3
    assert ssm.calls == 1
    ssm.value = "two"
    time.now = KEPT_SECONDS - 1
    assert await parameter.get() == "one"
    time.now = KEPT_SECONDS
    assert await parameter.get() == "two"


async def test_a_forgotten_value_is_read_again(parameter, ssm):
    await parameter.get()
    ssm.value = "two"
    parameter.forget()
    assert await parameter.get() == "two"


async def test_what_cannot_be_read_is_unavailable(parameter, ssm):
    ssm.down = True
    with pytest.raises(ParameterUnavailableError):
        await parameter.get()


def test_an_address_tells_its_region(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert api_address(URL) == ApiAddress(URL, "eu-west-1")
    with pytest.raises(ValueError):
        api_address("https://example.org/live")


def test_another_cloud_has_its_apis_below_a_path(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:4566/")
    there = api_address(URL)
    assert there == ApiAddress("http://localhost:4566/_aws/execute-api/abc123/live", "eu-west-1")
