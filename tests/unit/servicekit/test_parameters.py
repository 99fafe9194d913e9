"""Parameters of other stacks, kept for minutes."""

from types import SimpleNamespace

import pytest
from botocore.exceptions import EndpointConnectionError

from servicekit.parameters import KEPT_SECONDS, Parameter, ParameterUnavailableError

pytestmark = pytest.mark.anyio


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
