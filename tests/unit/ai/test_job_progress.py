"""What is told of jobs while they run, and that nothing of it holds them up."""

import asyncio
import json

import httpx
import pytest

from contracts.messaging.client import MessageClient
from functions.ai.adapters.progress import MessageServiceProgress
from functions.ai.domain import job_progress
from functions.ai.domain.breaker import FAILURES, PAUSE_SECONDS
from functions.ai.domain.errors import ProviderRejectedError, ProviderUnavailableError
from functions.ai.domain.inference import Completion, Usage
from functions.ai.domain.job_dispatcher import JobDispatcher
from functions.ai.domain.job_ports import JobChange, ProgressNote
from functions.ai.domain.job_worker import JobUnfinishedError
from functions.ai.routes import job_queue
from servicekit.parameters import ParameterUnavailableError
from tests.fakes.jobs import MAX_RECEIVES, Jobs, MemoryEvents, MemoryProgress, MemoryQueues, record

pytestmark = pytest.mark.anyio

DONE = Completion(Usage(10, 40))


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    """What is waited for is the same, at another pace."""
    monkeypatch.setattr("functions.ai.domain.turn_service.POLL_SECONDS", 0.01)
    monkeypatch.setattr("functions.ai.domain.runner.WATCH_SECONDS", 0.01)
    monkeypatch.setattr("functions.ai.domain.journal.WRITE_SECONDS", 0.01)


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


async def work(jobs: Jobs, job_id: str, receives: int = 1) -> None:
    await job_queue.work(jobs.worker, record(job_id, receives))


def states(jobs: Jobs) -> list[str]:
    return [note.data.get("stage") or note.data["status"] for note in jobs.progress.notes]


async def test_a_job_is_told_from_its_first_text_to_its_usage(jobs):
    jobs.provider.script = [["A secret "], ["answer."], DONE]
    job_id = await jobs.create()
    await work(jobs, job_id)
    assert states(jobs) == ["running", "first_text", "completed"]
    running, first, end = jobs.progress.notes
    assert running.new_status
    assert not running.terminal
    assert first.data["characters"] > 0
    assert not first.new_status
    assert end.terminal
    assert end.data["usage"]["output"] == 40
    assert end.data["cost"] is not None
    assert {note.turn_id for note in jobs.progress.notes} == {job_id}
    assert {note.project_id for note in jobs.progress.notes} == {7}
    assert len({note.key for note in jobs.progress.notes}) == 3
    assert "secret" not in repr(jobs.progress.notes)
    assert "answer" not in repr(jobs.progress.notes)


async def test_notes_come_a_few_times_a_second(jobs, monkeypatch):
    monkeypatch.setattr(job_progress, "INTERVAL_SECONDS", 3600)
    jobs.provider.script = [*([letter] for letter in "abcdefghij"), DONE]
    await work(jobs, await jobs.create())
    assert states(jobs) == ["running", "first_text", "completed"]


async def test_notes_count_what_there_is(jobs, monkeypatch):
    monkeypatch.setattr(job_progress, "INTERVAL_SECONDS", 0)
    jobs.provider.script = [["abc"], None, ["de"], DONE]
    working = asyncio.create_task(work(jobs, await jobs.create()))
    while states(jobs) != ["running", "first_text"]:  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.001)
    jobs.provider.go.set()
    await working
    assert states(jobs) == ["running", "first_text", "progress", "completed"]
    assert [n.data["characters"] for n in jobs.progress.notes if "stage" in n.data] == [3, 5]


async def test_a_failure_is_told_by_its_code(jobs):
    jobs.provider.script = [ProviderRejectedError("The model said too much")]
    await work(jobs, await jobs.create())
    assert states(jobs) == ["running", "failed"]
    assert jobs.progress.notes[-1].data["error"] == ProviderRejectedError.code
    assert "too much" not in repr(jobs.progress.notes)


async def test_a_job_that_goes_back_is_told_as_queued_again(jobs):
    jobs.provider.script = [ProviderUnavailableError()]
    job_id = await jobs.create()
    with pytest.raises(JobUnfinishedError):
        await work(jobs, job_id)
    assert states(jobs) == ["running", "queued"]
    assert not jobs.progress.notes[-1].terminal
    # Told again after the next attempt, it is another note.
    with pytest.raises(JobUnfinishedError):
        await work(jobs, job_id, MAX_RECEIVES)
    assert len({note.key for note in jobs.progress.notes}) == len(jobs.progress.notes)


async def test_a_job_is_not_held_up_by_who_does_not_listen(jobs, monkeypatch):
    monkeypatch.setattr(job_progress, "END_SECONDS", 0.01)
    monkeypatch.setattr(job_progress, "LAST_SECONDS", 0.01)
    jobs.progress.hang = asyncio.Event()
    jobs.provider.script = [["Done"], DONE]
    job_id = await jobs.create()
    await work(jobs, job_id)
    assert (await jobs.job(job_id))["status"] == "completed"
    assert jobs.progress.notes == []


async def test_new_jobs_are_told_while_they_are_sent(jobs):
    job_id = await jobs.create()
    turn = await jobs.memory.storage().turns.get(job_id)
    queues, progress = MemoryQueues(), MemoryProgress()
    dispatcher = JobDispatcher(queues, MemoryEvents(), progress)
    await dispatcher.dispatch([JobChange(None, turn), JobChange("queued", turn)])
    (note,) = progress.notes
    assert (note.data["status"], note.new_status) == ("queued", True)


class Address:
    """`progress.Address`."""

    def __init__(self) -> None:
        self.failing = False
        self.forgotten = 0

    async def get(self) -> str:
        if self.failing:
            raise ParameterUnavailableError("name")
        return "http://messaging.test"

    def forget(self) -> None:
        self.forgotten += 1


class Service:
    """The message service, and the adapter that calls it."""

    def __init__(self) -> None:
        self.posted: list[dict] = []
        self.calls = 0
        self.status = 200
        self.hang: asyncio.Event | None = None
        self.now = 1_000.0
        self.address = Address()
        self.progress = MessageServiceProgress(
            self.address,
            call_seconds=0.05,
            make=lambda url: MessageClient(url, transport=httpx.MockTransport(self.answer)),
            timer=lambda: self.now,
        )

    async def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/v1/progress/batch"
        self.calls += 1
        if self.hang is not None:
            await self.hang.wait()
        if self.status != 200:
            return httpx.Response(self.status)
        messages = json.loads(request.content)["messages"]
        assert len(messages) <= 25
        self.posted += messages
        results = [{"index": n, "status": 200} for n in range(len(messages))]
        return httpx.Response(200, json={"results": results})

    async def tell(self, count: int = 1, **fields) -> None:
        await self.progress.tell(
            [
                ProgressNote(turn_id=f"t{n}", project_id=7, key="k", data={"n": n}, **fields)
                for n in range(count)
            ]
        )


async def test_a_status_goes_to_the_job_and_to_its_project():
    service = Service()
    await service.tell(new_status=True, terminal=True)
    await service.tell()
    assert [(m["topic"], m["event_id"], m["terminal"]) for m in service.posted] == [
        ("job:t0", "k", True),
        ("project:7", "k", False),
        ("job:t0", "k", False),
    ]


async def test_many_new_jobs_are_told_in_batches():
    service = Service()
    await service.tell(40, new_status=True)
    assert (len(service.posted), service.calls) == (80, 4)
    await service.tell(0)
    assert service.calls == 4


@pytest.mark.parametrize("failure", ["status", "hang", "address"])
async def test_a_service_that_fails_is_left_alone_for_a_while(failure):
    service = Service()
    service.status = 503 if failure == "status" else 200
    service.hang = asyncio.Event() if failure == "hang" else None
    service.address.failing = failure == "address"
    for _ in range(FAILURES + 3):
        await service.tell()
    assert service.calls == (0 if failure == "address" else FAILURES)
    assert service.address.forgotten == FAILURES

    service.now += PAUSE_SECONDS
    service.status, service.hang, service.address.failing = 200, None, False
    calls = service.calls
    await asyncio.gather(service.tell(), service.tell())
    # One asks whether it is well again.
    assert service.calls == calls + 1
    await service.tell()
    assert service.calls == calls + 2


async def test_who_could_wait_no_longer_counts_as_a_failure():
    service = Service()
    service.hang = asyncio.Event()
    for _ in range(FAILURES):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await service.tell()
    await service.tell()
    assert service.calls == FAILURES
