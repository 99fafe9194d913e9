"""The evidence bucket in moto, with Object Lock, and S3 and KMS at their worst."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from botocore.session import get_session
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from moto import mock_aws

from functions.audit.adapters import evidence as module
from functions.audit.adapters.evidence import S3Evidence
from functions.audit.adapters.signer import KmsSigner
from functions.audit.domain.errors import KeyUnavailableError
from functions.audit.domain.sealing import Sealer
from servicekit.errors import StoreUnavailableError
from tests.fakes.audit_log import LOG_NAME, MemoryLedger, MemoryLog, MemorySigner

pytestmark = pytest.mark.anyio

BUCKET = "santaclaude-local-audit-evidence"
ERRORS = {
    "ConditionalRequestConflict": 409,
    "AccessDenied": 403,
    "SlowDown": 503,
    "InternalError": 500,
}


def client_of(service, monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    config = Config(retries={"mode": "standard", "total_max_attempts": 1})
    return get_session().create_client(service, config=config)


@pytest.fixture
def s3(monkeypatch):
    with mock_aws():
        client = client_of("s3", monkeypatch)
        client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        yield client


@pytest.fixture
def evidence(s3):
    evidence = S3Evidence(BUCKET, lambda: s3)
    yield evidence
    evidence.close()


class Answers:
    """Answers an operation's next calls in AWS's place; keeps what was asked."""

    def __init__(self, client, operation):
        self.next: list[Any] = []
        self.requests: list[Any] = []
        service = client.meta.service_model.service_name
        client.meta.events.register(f"before-call.{service}.{operation}", self._answer)

    def refuse(self, code, times=1):
        answer = (SimpleNamespace(status_code=ERRORS.get(code, 400)), {"Error": {"Code": code}})
        self.next += [answer] * times

    def _answer(self, params, **_arguments):
        self.requests.append(params)
        answer = self.next.pop(0) if self.next else None
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_an_object_is_created_once_and_read_as_it_was(evidence, s3):
    assert await evidence.read("tile/0/000") is None
    assert await evidence.create("tile/0/000", b"one")
    assert not await evidence.create("tile/0/000", b"two")
    assert await evidence.read("tile/0/000") == b"one"
    versions = s3.list_object_versions(Bucket=BUCKET)["Versions"]
    assert [version["Key"] for version in versions] == ["tile/0/000"]


async def test_one_of_many_wins_a_name(evidence):
    outcomes = await asyncio.gather(
        *(evidence.create("batch/0", bytes([number])) for number in range(10))
    )
    assert sorted(outcomes) == [False] * 9 + [True]
    assert await evidence.read("batch/0") == bytes([outcomes.index(True)])


async def test_a_put_is_conditional_and_has_the_checksum_that_object_lock_wants(evidence, s3):
    answers = Answers(s3, "PutObject")
    await evidence.create("a", b"x")
    headers = answers.requests[0]["headers"]
    assert headers["If-None-Match"] == "*"
    assert any("sha256" in f"{name} {value}".lower() for name, value in headers.items())


async def test_rivals_in_the_very_same_moment_are_waited_for(evidence, s3, monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE_SECONDS", 0)
    answers = Answers(s3, "PutObject")
    answers.refuse("ConditionalRequestConflict", times=3)
    assert await evidence.create("a", b"x")
    answers.refuse("ConditionalRequestConflict", times=6)
    with pytest.raises(StoreUnavailableError):
        await evidence.create("b", b"x")


@pytest.mark.parametrize("failure", ["AccessDenied", "SlowDown", "connection"])
async def test_anything_else_is_unavailable(evidence, s3, failure, caplog):
    for operation, call in (
        ("PutObject", lambda: evidence.create("a", b"x")),
        ("GetObject", lambda: evidence.read("a")),
    ):
        answers = Answers(s3, operation)
        if failure == "connection":
            answers.next.append(EndpointConnectionError(endpoint_url="https://s3"))
        else:
            answers.refuse(failure)
        with pytest.raises(StoreUnavailableError) as caught:
            await call()
        assert failure not in str(caught.value)
    assert "evidence" in caplog.text


async def test_a_log_in_the_bucket(evidence):
    log = MemoryLog()
    log.accept_many(600)
    sealer = Sealer(MemoryLedger(log.state), evidence, MemorySigner(), LOG_NAME, log.clock)
    result = await sealer.run(log.now)
    assert (result.sealed, result.forks) == (600, 0)
    for name in ("tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2", "checkpoint/600", "batch/0"):
        assert await evidence.read(name)


class Kms:
    """KMS as far as the log needs it; the key is Ed25519 unless told otherwise."""

    def __init__(self, key=None):
        self.key = Ed25519PrivateKey.from_private_bytes(bytes(32))
        self.public = (key or self.key).public_key()
        self.calls = []

    def get_public_key(self, **arguments):
        self.calls.append(arguments)
        encoded = self.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {"PublicKey": encoded}

    def sign(self, **arguments):
        self.calls.append(arguments)
        return {"Signature": self.key.sign(arguments["Message"])}

    def close(self):
        self.calls.append("closed")


async def test_kms_signs_and_its_key_is_asked_for_once():
    kms = Kms()
    signer = KmsSigner("alias/log", lambda: kms)
    public = await signer.public_key()
    assert public == await signer.public_key() == kms.key.public_key().public_bytes_raw()
    kms.key.public_key().verify(await signer.sign(b"text"), b"text")
    signer.close()
    assert kms.calls == [
        {"KeyId": "alias/log"},
        {
            "KeyId": "alias/log",
            "Message": b"text",
            "MessageType": "RAW",
            "SigningAlgorithm": "ED25519_SHA_512",
        },
        "closed",
    ]


async def test_a_key_of_another_kind_is_refused():
    signer = KmsSigner("k", lambda: Kms(X25519PrivateKey.generate()))
    with pytest.raises(KeyUnavailableError):
        await signer.public_key()


@pytest.mark.parametrize("failure", ["AccessDeniedException", "connection"])
async def test_kms_that_refuses_or_is_silent(monkeypatch, failure):
    client = client_of("kms", monkeypatch)
    signer = KmsSigner("k", lambda: client)
    for operation, call in (
        ("Sign", lambda: signer.sign(b"x")),
        ("GetPublicKey", signer.public_key),
    ):
        answers = Answers(client, operation)
        if failure == "connection":
            answers.next.append(EndpointConnectionError(endpoint_url="https://kms"))
        else:
            answers.refuse(failure)
        with pytest.raises(KeyUnavailableError):
            await call()
