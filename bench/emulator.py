"""A MiniStack of a measure's own: on loopback, without state, ended with the measure."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.config import Config
from botocore.session import get_session

_START_SECONDS = 60.0


@contextmanager
def ministack() -> Iterator[str]:
    """Its address while the block runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            cwd=folder,
            env={
                "BIND_HOST": "127.0.0.1",
                "DOCKER_HOST": f"unix://{folder}/no-engine.sock",
                "GATEWAY_PORT": str(port),
                "HOME": folder,
                "IOT_MTLS_ENABLED": "0",
                "PATH": os.environ["PATH"],
                "PERSIST_STATE": "0",
                "SFTP_ENABLED": "0",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(endpoint)
            yield endpoint
        finally:
            process.terminate()
            process.wait(30)


def client(service: str, endpoint: str) -> Any:
    """A client of it."""
    return get_session().create_client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        # As many as a table has worker threads, twice: two tables share it.
        config=Config(max_pool_connections=32),
    )


def create_table(dynamodb: Any, name: str, indexes: int) -> None:
    """A table of the services' shape: pk/sk, and gsi<n>pk/gsi<n>sk."""

    def schema(prefix: str) -> Sequence[dict[str, str]]:
        return [
            {"AttributeName": f"{prefix}pk", "KeyType": "HASH"},
            {"AttributeName": f"{prefix}sk", "KeyType": "RANGE"},
        ]

    prefixes = ["", *(f"gsi{number}" for number in range(1, indexes + 1))]
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": key["AttributeName"], "AttributeType": "S"}
            for prefix in prefixes
            for key in schema(prefix)
        ],
        KeySchema=schema(""),
        GlobalSecondaryIndexes=[
            {
                "IndexName": prefix,
                "KeySchema": schema(prefix),
                "Projection": {"ProjectionType": "ALL"},
            }
            for prefix in prefixes[1:]
        ],
    )


def _wait(endpoint: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        try:
            with opener.open(f"{endpoint}/_ministack/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("MiniStack did not start")
