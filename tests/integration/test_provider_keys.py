"""Provider keys with the real botocore client: what is stored on moto, the rest by its faults."""

import asyncio
import logging
import threading
from types import SimpleNamespace

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.session import get_session
from moto import mock_aws

from functions.ai.adapters.provider_keys import (
    ABSENT_SECONDS,
    KEPT_SECONDS,
    NoKey,
    ProviderKeys,
)
from functions.ai.domain.errors import ProviderKeyMissingError, ProviderUnavailableError
from localcloud import seed

pytestmark = pytest.mark.anyio

NAME = "santaclaude/local/providers/openai"
KEY = "sk-very-secret"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def secrets(monkeypatch):
    """A client of a mocked Secrets Manager that counts reads, and fails them on demand."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        config = Config(retries={"total_max_attempts": 1})
        client = get_session().create_client("secretsmanager", config=config)
        state = SimpleNamespace(
            client=client, reads=0, error=None, asked=threading.Event(), gate=threading.Event()
        )
        state.gate.set()

        def read(**_arguments):
            state.reads += 1
            state.asked.set()
            assert state.gate.wait(10)
            if state.error is not None:
                raise state.error

        client.meta.events.register("before-call.secretsmanager.GetSecretValue", read)
        yield state
        client.close()


@pytest.fixture
def source(secrets, clock):
    return ProviderKeys("local", lambda: secrets.client).of("openai", clock)


def aws_error(code):
    return ClientError({"Error": {"Code": code, "Message": KEY}}, "GetSecretValue")


async def missing(source):
    with pytest.raises(ProviderKeyMissingError) as failure:
        await source.get()
    return failure.value


async def test_a_key_is_read_on_first_use_and_kept_for_minutes(secrets, source, clock):
    secrets.client.create_secret(Name=NAME, SecretString=KEY)
    assert secrets.reads == 0
    assert await source.get() == await source.get() == KEY
    secrets.client.put_secret_value(SecretId=NAME, SecretString="new")
    clock.now += KEPT_SECONDS - 1
    assert await source.get() == KEY
    assert secrets.reads == 1
    clock.now += 1
    assert await source.get() == "new"
    assert secrets.reads == 2


async def test_a_refused_key_is_read_anew(secrets, source):
    secrets.client.create_secret(Name=NAME, SecretString=KEY)
    await source.get()
    secrets.client.put_secret_value(SecretId=NAME, SecretString="new")
    source.forget()
    assert await source.get() == "new"


async def test_a_missing_key_names_its_secret_and_the_remedy(secrets, source, clock):
    error = await missing(source)
    assert NAME in error.detail
    assert "OPENAI_API_KEY" in error.detail
    assert error.status == 503
    await missing(source)
    assert secrets.reads == 1
    secrets.client.create_secret(Name=NAME, SecretString=KEY)
    clock.now += ABSENT_SECONDS
    assert await source.get() == KEY


async def test_outside_the_local_cloud_no_env_file_is_spoken_of(secrets):
    error = await missing(ProviderKeys("prod", lambda: secrets.client).of("openai"))
    assert "santaclaude/prod/providers/openai" in error.detail
    assert ".env" not in error.detail


async def test_what_the_local_cloud_seeds_is_what_is_read(secrets, source, tmp_path):
    env_file = tmp_path / ".env"
    env_file.write_text(f"OPENAI_API_KEY={KEY}\n")
    aws = SimpleNamespace(client=lambda _service: secrets.client)
    assert seed.provider_keys(aws, env_file=env_file) == ["openai"]
    assert await source.get() == KEY


@pytest.mark.parametrize("stored", [" ", "sk-\nsk-", "schlüssel"])
async def test_what_cannot_be_a_key_is_none(secrets, source, stored):
    secrets.client.create_secret(Name=NAME, SecretString=stored)
    assert NAME in (await missing(source)).detail


async def test_bytes_are_no_key(secrets, source):
    secrets.client.create_secret(Name=NAME, SecretBinary=b"sk-1")
    await missing(source)


async def test_space_around_a_key_is_left_out(secrets, source):
    secrets.client.create_secret(Name=NAME, SecretString=f" {KEY}\n")
    assert await source.get() == KEY


async def test_one_read_for_many_who_wait(secrets, source):
    secrets.client.create_secret(Name=NAME, SecretString=KEY)
    secrets.gate.clear()
    waiting = [asyncio.create_task(source.get()) for _ in range(50)]
    assert await asyncio.to_thread(secrets.asked.wait, 10)
    waiting[0].cancel()
    secrets.gate.set()
    keys = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(keys[0], asyncio.CancelledError)
    assert keys[1:] == [KEY] * 49
    assert secrets.reads == 1


async def test_a_failed_read_fails_those_who_wait_and_is_tried_again_by_the_next(secrets, source):
    secrets.client.create_secret(Name=NAME, SecretString=KEY)
    secrets.error = aws_error("InternalServiceError")
    answers = await asyncio.gather(*(source.get() for _ in range(5)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {ProviderUnavailableError}
    assert secrets.reads == 1
    secrets.error = None
    assert await source.get() == KEY


async def test_a_read_that_was_under_way_when_the_key_was_refused_is_not_kept(secrets, source):
    secrets.client.create_secret(Name=NAME, SecretString=KEY)
    secrets.gate.clear()
    early = asyncio.create_task(source.get())
    assert await asyncio.to_thread(secrets.asked.wait, 10)
    source.forget()
    secrets.gate.set()
    assert await early == KEY
    assert await source.get() == KEY
    assert secrets.reads == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (aws_error("AccessDeniedException"), ProviderKeyMissingError),
        (aws_error("ThrottlingException"), ProviderUnavailableError),
        (EndpointConnectionError(endpoint_url=KEY), ProviderUnavailableError),
    ],
    ids=["forbidden", "throttled", "no connection"],
)
async def test_faults_name_the_secret_and_quote_nobody(secrets, source, caplog, error, expected):
    secrets.error = error
    with caplog.at_level(logging.DEBUG, "functions"), pytest.raises(expected) as failure:
        await source.get()
    assert type(failure.value) is expected
    assert KEY not in str(failure.value)
    (record,) = caplog.records
    assert record.secret == NAME
    assert KEY not in str(vars(record))


async def test_a_bug_is_no_unavailable_provider(secrets, source):
    secrets.error = TypeError("bug")
    with pytest.raises(TypeError):
        await source.get()


async def test_a_key_is_in_no_repr_and_no_log(secrets, source, caplog):
    secrets.client.create_secret(Name=NAME, SecretString=KEY)
    with caplog.at_level(logging.DEBUG, "functions"):
        assert await source.get() == KEY
    assert KEY not in repr(source) + str(source) + caplog.text


async def test_a_server_may_need_no_key():
    source = NoKey()
    source.forget()
    assert await source.get() == ""
