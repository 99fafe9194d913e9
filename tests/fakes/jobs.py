"""Jobs without SQS: the queues and what a worker is given of them."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from functions.ai.bootstrap import build_worker
from functions.ai.domain.dependencies import Worker
from functions.ai.domain.errors import EventsUnavailableError, QueueUnavailableError
from functions.ai.domain.job_ports import Delivery, JobChange, JobMessage, JobProgress, ProgressNote
from functions.ai.domain.ports import ModelProvider
from functions.ai.domain.turns import Priority
from functions.ai.settings import WorkerSettings
from tests.fakes.ai_app import ENVIRONMENT, AiService, Clock
from tests.fakes.memory import Memory

MAX_RECEIVES = 3
QUEUES = {
    "HIGH_QUEUE_URL": "http://sqs/000000000000/santaclaude-local-ai-jobs-high",
    "NORMAL_QUEUE_URL": "http://sqs/000000000000/santaclaude-local-ai-jobs-normal",
}
MESSAGING = {"MESSAGING_URL_PARAMETER": "/santaclaude/local/messaging/api-url"}
WORKER_ENVIRONMENT = {
    **ENVIRONMENT,
    **QUEUES,
    **MESSAGING,
    "MAX_RECEIVES": str(MAX_RECEIVES),
}
DISPATCH_ENVIRONMENT = {
    **{name: ENVIRONMENT[name] for name in ENVIRONMENT if name.startswith(("POWER", "ENV"))},
    **QUEUES,
    **MESSAGING,
}


class MemoryQueues:
    """`job_ports.JobQueues` and `job_ports.Deliveries`."""

    def __init__(self) -> None:
        self.sent: list[tuple[Priority, JobMessage]] = []
        self.hidden: list[tuple[str, int]] = []
        self.failure: QueueUnavailableError | None = None

    async def send(self, priority: Priority, messages: Sequence[JobMessage]) -> None:
        self._fail()
        self.sent += [(priority, message) for message in messages]

    async def hide(self, delivery: Delivery, seconds: int) -> None:
        self._fail()
        self.hidden.append((delivery.receipt.removeprefix("r-"), seconds))

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class MemoryEvents:
    """`job_ports.JobEvents`."""

    def __init__(self) -> None:
        self.told: list[JobChange] = []
        self.failure: EventsUnavailableError | None = None

    async def publish(self, changes: Sequence[JobChange]) -> None:
        if self.failure is not None:
            raise self.failure
        self.told += changes


class MemoryProgress:
    """`job_ports.JobProgress`; it waits for `hang` where there is one."""

    def __init__(self) -> None:
        self.notes: list[ProgressNote] = []
        self.hang: asyncio.Event | None = None

    async def tell(self, notes: Sequence[ProgressNote]) -> None:
        if self.hang is not None:
            await self.hang.wait()
        self.notes += notes


def record(turn_id: str, receives: int = 1, **fields: Any) -> dict[str, Any]:
    """A message of the normal queue as Lambda gets it."""
    return {
        "messageId": f"m-{turn_id}",
        "receiptHandle": f"r-{turn_id}",
        "body": json.dumps({"turn_id": turn_id}),
        "attributes": {"ApproximateReceiveCount": str(receives)},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:santaclaude-local-ai-jobs-normal",
        **fields,
    }


def worker(
    memory: Memory,
    provider: ModelProvider,
    queues: MemoryQueues,
    clock: Clock,
    progress: JobProgress | None = None,
) -> Worker:
    """A worker over a database that others use, too."""
    settings = WorkerSettings.from_environment(WORKER_ENVIRONMENT)
    return build_worker(
        settings,
        memory.storage(),
        {"bedrock": provider},
        queues,
        progress or MemoryProgress(),
        clock,
    )


class Jobs:
    """The service with its queues and one worker."""

    def __init__(self) -> None:
        self.service = AiService()
        self.queues = MemoryQueues()
        self.memory = self.service.memory
        self.provider: Any = self.service.provider
        self.clock = self.service.clock
        self.progress = MemoryProgress()
        self.worker = worker(self.memory, self.provider, self.queues, self.clock, self.progress)

    async def create(self, **fields: Any) -> str:
        """A job of project 7 and user 3."""
        body = {"message": "Hi", "project_id": 7, "user_id": 3, **fields}
        answer = await self.service.call("POST", "/api/v1/jobs", body)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["job_id"]
        return job_id

    async def job(self, job_id: str) -> dict[str, Any]:
        """What GET says of it."""
        answer = await self.service.call("GET", f"/api/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job
