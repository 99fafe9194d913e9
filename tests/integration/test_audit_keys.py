"""The key table and the wrapping key, on moto: a person's key is one, and gone when deleted."""

import asyncio

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from functions.audit.adapters.subject_keys import DynamoSubjectKeys
from functions.audit.adapters.wrapping import KmsWrapping
from functions.audit.domain.errors import KeyUnavailableError
from functions.audit.domain.models import SubjectKey
from functions.audit.domain.personal import Keyring
from servicekit.dynamodb import DynamoTable

pytestmark = pytest.mark.anyio

REGION = "us-east-1"
TABLE = "santaclaude-local-ai"


@pytest.fixture
def keys(make_client):
    table = DynamoTable(TABLE, make_client)
    yield DynamoSubjectKeys(table)
    table.close()


@pytest.fixture
def wrapping(make_client):
    key_id = boto3.client("kms", region_name=REGION).create_key()["KeyMetadata"]["KeyId"]
    made = KmsWrapping(key_id)
    yield made
    made.close()


async def test_a_person_has_one_key(keys):
    first = SubjectKey(3, "k1", b"\x00wrapped")
    assert await keys.find([3]) == {}
    assert await keys.create(first) == first
    assert await keys.create(SubjectKey(3, "k2", b"other")) == first
    assert await keys.find([3]) == {3: first}


async def test_many_are_found_at_once(keys):
    stored = [SubjectKey(user_id, f"k{user_id}", b"w") for user_id in range(1, 121)]
    await asyncio.gather(*(keys.create(key) for key in stored))
    assert await keys.find(range(1, 200)) == {key.user_id: key for key in stored}
    assert await keys.find([500, 501]) == {}


async def test_a_deleted_key_is_gone(keys):
    await keys.create(SubjectKey(3, "k1", b"w"))
    assert await keys.delete(3) is True
    assert await keys.delete(3) is False
    assert await keys.find([3]) == await keys.find([3, 4]) == {}
    assert await keys.create(SubjectKey(3, "k2", b"w")) == SubjectKey(3, "k2", b"w")


async def test_a_wrapped_key_is_its_persons_alone(wrapping):
    plain, wrapped = await wrapping.generate(3)
    assert len(plain) == 32
    assert plain not in wrapped
    assert await wrapping.unwrap(SubjectKey(3, "k", wrapped)) == plain
    with pytest.raises(KeyUnavailableError):
        await wrapping.unwrap(SubjectKey(4, "k", wrapped))


async def test_kms_that_refuses_or_is_silent(wrapping, monkeypatch):
    with pytest.raises(KeyUnavailableError):
        await KmsWrapping("alias/none").generate(3)

    def fail(**_):
        raise EndpointConnectionError(endpoint_url="http://kms")

    monkeypatch.setattr(wrapping._client.get(), "generate_data_key", fail)
    with pytest.raises(KeyUnavailableError):
        await wrapping.generate(3)


async def test_many_at_once_agree_on_a_persons_key(keys, wrapping):
    rings = [Keyring(keys, wrapping) for _ in range(8)]
    found = await asyncio.gather(*(ring.provide([3, 4]) for ring in rings))
    assert all(one == found[0] for one in found)
    assert found[0].keys() == {3, 4}
