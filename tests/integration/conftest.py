"""Asynchronous tests run on asyncio; a DynamoDB table of the deployed shape in moto."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.session import get_session
from moto import mock_aws

from functions.ai.bootstrap import FIRST_IDS_ABOVE, Storage, dynamodb_storage
from localcloud.chromium import REMEDY
from localcloud.chromium import find as find_chromium
from servicekit.dynamodb import DynamoTable
from tests.fakes.ai_app import SETTINGS
from tests.fakes.memory import Memory

TABLE = "santaclaude-local-ai"
_KEYS = ("pk", "sk", "gsi1pk", "gsi1sk", "gsi2pk", "gsi2sk", "gsi3pk", "gsi3sk")


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def make_client(monkeypatch) -> Iterator[Callable[[], Any]]:
    """Makes clients of one mocked DynamoDB that has the table."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)

    def make() -> Any:
        config = Config(retries={"mode": "standard", "total_max_attempts": 1})
        return one_at_a_time(get_session().create_client("dynamodb", config=config))

    # Every write to an item of DynamoDB is atomic; moto's reads and writes of threads interleave.
    turnstile = threading.Lock()

    def one_at_a_time(client: Any) -> Any:
        call = client._make_api_call

        def wait_and_call(*arguments: Any) -> Any:
            with turnstile:
                return call(*arguments)

        client._make_api_call = wait_and_call
        return client

    with mock_aws():
        make().create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": k, "AttributeType": "S"} for k in _KEYS],
            KeySchema=_schema("pk", "sk"),
            GlobalSecondaryIndexes=[
                {
                    "IndexName": index,
                    "KeySchema": _schema(f"{index}pk", f"{index}sk"),
                    "Projection": projection,
                }
                for index, projection in (
                    ("gsi1", {"ProjectionType": "ALL"}),
                    ("gsi2", {"ProjectionType": "ALL"}),
                    ("gsi3", {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["session_id"]}),
                )
            ],
        )
        yield make


@pytest.fixture
def make_s3(make_client) -> Callable[[], Any]:
    """Makes clients of one mocked S3 that has the bucket."""

    def make() -> Any:
        config = Config(retries={"mode": "standard", "total_max_attempts": 1})
        return get_session().create_client("s3", config=config)

    make().create_bucket(Bucket=SETTINGS.content_bucket)
    return make


@pytest.fixture
def table(make_client) -> Iterator[DynamoTable]:
    table = DynamoTable(TABLE, make_client)
    yield table
    table.close()


@pytest.fixture
def dynamodb(make_client, make_s3) -> Iterator[Storage]:
    storage = dynamodb_storage(SETTINGS, make_client, make_s3)
    yield storage
    storage.close()


@pytest.fixture(params=["memory", "dynamodb"])
def storage(request) -> Storage:
    """The same tests hold for the fake and for the real adapters."""
    if request.param == "memory":
        return Memory(FIRST_IDS_ABOVE).storage()
    storage: Storage = request.getfixturevalue("dynamodb")
    return storage


def _schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """The machine's Chromium. Without one the tests of the browser fail: none is skipped."""
    found = find_chromium()
    assert found is not None, f"no Chromium: {REMEDY}"
    return found
