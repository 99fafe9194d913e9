"""One local cloud for all e2e tests: deployed by `localcloud up`, with state and ports of its own.

Its Bedrock is MiniStack's, behind a server of the same protocol that streams, fails and hangs when
a message asks for it.
"""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

import boto3
import httpx
import pytest
from botocore.credentials import Credentials

from contracts.client.signing import SigV4
from tests.conftest import ROOT
from tests.fakes.bedrock_server import BedrockServer
from tests.fakes.provider_server import ProviderServer

ACCOUNT = "000000000000"
REGION = "us-east-1"
SERVICES = ("PROJECTFLOW", "AI", "BROWSER", "AUDIT", "MESSAGING")
KEYED = ("openai", "anthropic", "gemini")


def free_ports(count: int) -> list[int]:
    """Below those that the system gives out: what starts meanwhile takes none of them."""
    found: list[int] = []
    with ExitStack() as held:
        for port in random.sample(range(20_000, 32_000), 1_000):
            listener = held.enter_context(socket.socket())
            with suppress(OSError):
                listener.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise OSError("too many ports are taken")


class LocalCloud:
    """Handles of the running local cloud."""

    def __init__(
        self,
        folder: Path,
        bedrock: BedrockServer,
        providers: ProviderServer,
        ports: list[int],
    ) -> None:
        cloud_port, self.site_port, *service_ports = ports
        self.bedrock = bedrock
        self.providers = providers
        self.state = folder
        self.aws = f"http://127.0.0.1:{cloud_port}"
        self.ports = dict(zip(SERVICES, service_ports, strict=True))
        self.environment = {
            **{name: value for name, value in os.environ.items() if "AWS" not in name},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "localstack"),
            "LOCAL_STATE_DIR": str(folder),
            "LOCAL_CLOUD_PORT": str(cloud_port),
            "LOCAL_BEDROCK_ENDPOINT_URL": bedrock.url,
            "LOCAL_OPENAI_URL": f"{providers.url}/v1",
            "LOCAL_ANTHROPIC_URL": providers.url,
            "LOCAL_GEMINI_URL": f"{providers.url}/v1beta/openai/",
            "LOCAL_OPENAI_COMPATIBLE_URL": f"{providers.url}/ollama/v1",
            "LOCAL_ADDITIONAL_MODELS": "openai-compatible:llama3.2",
            "LOCAL_BROWSER_SITES": f"127.0.0.1:{self.site_port}",
            **{f"LOCAL_{name}_PORT": str(port) for name, port in self.ports.items()},
        }

    @property
    def ai(self) -> str:
        return self.door("AI")

    def door(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def api_id(self, service: str = "ai") -> str:
        parameter = self.client("ssm").get_parameter(Name=f"/santaclaude/local/{service}/api-id")
        return parameter["Parameter"]["Value"]

    def execute_api(self, service: str = "ai") -> str:
        """Where the deployed API itself answers, as on AWS: signed requests only."""
        return f"{self.aws}/_aws/execute-api/{self.api_id(service)}/live"

    def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "localcloud", *arguments],
            cwd=ROOT,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def up(self) -> None:
        result = self.command("up")
        assert result.returncode == 0, result.stdout + result.stderr

    def model_server(self, provider: str) -> BedrockServer | ProviderServer:
        """What stands for the provider."""
        return self.bedrock if provider == "bedrock" else self.providers

    def asked(self, model: str) -> int:
        """How often the providers beside Bedrock were asked for an answer of the model."""
        return sum(call.body.get("model") == model for call in self.providers.calls)

    def down(self) -> None:
        result = self.command("down")
        assert result.returncode == 0, result.stdout + result.stderr

    def client(self, service: str):
        return boto3.client(
            service,
            endpoint_url=self.aws,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def role(self, name: str) -> Credentials:
        session = self.client("sts").assume_role(
            RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{name}", RoleSessionName="e2e-tests"
        )["Credentials"]
        return Credentials(
            session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"]
        )

    def signed(self, role: str) -> SigV4:
        return SigV4(region=REGION, credentials=self.role(role))


@pytest.fixture(scope="session")
def cloud() -> Iterator[LocalCloud]:
    folder = Path(tempfile.mkdtemp(prefix="sc-e2e-"))
    ports = free_ports(2 + len(SERVICES))
    upstream = f"http://127.0.0.1:{ports[0]}"
    with BedrockServer(upstream=upstream) as bedrock, ProviderServer() as providers:
        running = LocalCloud(folder, bedrock, providers, ports)
        try:
            running.up()
            yield running
        finally:
            running.command("down")
            shutil.rmtree(folder, ignore_errors=True)


def job_queue(cloud: LocalCloud, name: str) -> str:
    """The URL of one of the AI service's queues."""
    return cloud.client("sqs").get_queue_url(QueueName=f"santaclaude-local-ai-{name}")["QueueUrl"]


@pytest.fixture(scope="session")
def poison(cloud) -> str:
    """A message that no worker of jobs can read: minutes later it lies with the dead letters."""
    body = "no message of a job"
    cloud.client("sqs").send_message(QueueUrl=job_queue(cloud, "jobs-normal"), MessageBody=body)
    return body


def secret_name(provider: str) -> str:
    return f"santaclaude/local/providers/{provider}"


@pytest.fixture(scope="module")
def keys(cloud) -> Iterator[None]:
    """As `make up` puts them there from .env."""
    secrets = cloud.client("secretsmanager")
    for provider in KEYED:
        secrets.create_secret(Name=secret_name(provider), SecretString=f"key-of-{provider}")
    yield
    for provider in KEYED:
        secrets.delete_secret(SecretId=secret_name(provider), ForceDeleteWithoutRecovery=True)


@pytest.fixture
def ai(cloud) -> Iterator[httpx.Client]:
    """What a person has: the front door, unsigned."""
    with httpx.Client(base_url=cloud.ai, timeout=60) as client:
        yield client


@pytest.fixture
def audit(cloud) -> Iterator[httpx.Client]:
    """The audit sink at the front door, unsigned."""
    with httpx.Client(base_url=cloud.door("AUDIT"), timeout=60) as client:
        yield client


@pytest.fixture
def messaging(cloud) -> Iterator[httpx.Client]:
    """The message service at the front door, unsigned."""
    with httpx.Client(base_url=cloud.door("MESSAGING"), timeout=60) as client:
        yield client


@pytest.fixture
def browser(cloud) -> Iterator[httpx.Client]:
    """The browser pool at the front door, unsigned."""
    with httpx.Client(base_url=cloud.door("BROWSER"), timeout=60) as client:
        yield client


@pytest.fixture
def bus_listener(cloud) -> Iterator[Callable[[dict], Callable[[], list[dict]]]]:
    """Makes listeners on the environment's bus: each tells what came by that matches its pattern.

    An event is told once more under the same id where the bus delivers it twice.
    """
    events, sqs = cloud.client("events"), cloud.client("sqs")
    bus = "santaclaude-local"
    made: list[tuple[str, str]] = []

    def listen(pattern: dict) -> Callable[[], list[dict]]:
        name = f"e2e-{uuid4().hex[:12]}"
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        made.append((name, url))
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern))
        targets = [{"Id": "queue", "Arn": arn["QueueArn"]}]
        events.put_targets(Rule=name, EventBusName=bus, Targets=targets)
        found: list[dict] = []

        def heard() -> list[dict]:
            received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
            for message in received.get("Messages", []):
                found.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return found

        return heard

    yield listen
    for name, url in made:
        events.remove_targets(Rule=name, EventBusName=bus, Ids=["queue"])
        events.delete_rule(Name=name, EventBusName=bus)
        sqs.delete_queue(QueueUrl=url)


def eventually(check, seconds: float = 60.0):
    """What `check` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.3)
    return found


@pytest.fixture
def session(ai) -> dict:
    """A new session of project 1 and user 7."""
    response = ai.post(
        "/api/v1/sessions",
        params={"user_id": 7},
        json={
            "project_id": 1,
            "provider": "bedrock",
            "model": "amazon.nova-lite-v1:0",
            "initial_message": "",
        },
    )
    assert response.status_code == 200, response.text
    return response.json()


def chat_request(session: dict, message: str, **fields) -> dict:
    return {
        "message": message,
        "project_id": session["project_id"],
        "user_id": session["user_id"],
        "session_id": session["session_id"],
        **fields,
    }


def problem(response: httpx.Response, status: int, code: str | None = None) -> dict:
    """The response as a problem, checked for its form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/problem+json")
    body = response.json()
    assert {"type", "title", "status", "code", "request_id"} <= set(body)
    assert body["status"] == status
    if code:
        assert body["code"] == code
    return body
