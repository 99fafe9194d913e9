"""The worker: every state in which a message may find its job, and what becomes of either."""

import asyncio
import importlib
import json
import logging
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from functions.ai.domain import job_worker
from functions.ai.domain.errors import (
    ContextTooLongError,
    ProviderRejectedError,
    ProviderThrottledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QueueUnavailableError,
)
from functions.ai.domain.inference import Completion, Usage
from functions.ai.domain.job_worker import JobUnfinishedError
from functions.ai.domain.turns import JOB_PATIENCE_SECONDS, LEASE_SECONDS
from functions.ai.routes import job_queue
from servicekit.backoff import full_jitter
from servicekit.context import current_context
from servicekit.errors import StoreUnavailableError
from tests.fakes.ai_app import chat_body
from tests.fakes.jobs import MAX_RECEIVES, WORKER_ENVIRONMENT, Jobs, record, worker
from tests.fakes.memory import ScriptedProvider
from tests.unit.ai.test_turns import events

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


async def unfinished(jobs: Jobs, job_id: str, receives: int = 1) -> None:
    with pytest.raises(JobUnfinishedError):
        await work(jobs, job_id, receives)


async def contents(jobs: Jobs, job_id: str) -> list[str]:
    session_id = (await jobs.job(job_id))["session_id"]
    return [message["content"] for message in await jobs.service.messages(session_id)]


async def killed(jobs: Jobs, job_id: str, *, events_written: int = 0) -> asyncio.Task[None]:
    """A worker that is stuck for longer than its lease: to others it is gone."""
    jobs.provider.asked.clear()
    stuck = asyncio.create_task(work(jobs, job_id))
    await jobs.provider.asked.wait()
    async with asyncio.timeout(5):
        while len(jobs.memory.turns.stored[job_id]) < events_written:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    jobs.clock.pass_seconds(LEASE_SECONDS + 1)
    return stuck


def successor(jobs: Jobs, provider: Any = None) -> None:
    """From now on another worker takes the messages."""
    jobs.provider = provider or ScriptedProvider()
    jobs.worker = worker(jobs.memory, jobs.provider, jobs.queues, jobs.clock)


@pytest.mark.anyio
async def test_a_waiting_job_is_done(jobs):
    job_id = await jobs.create()
    await work(jobs, job_id)
    assert (await jobs.job(job_id))["status"] == "completed"
    assert await contents(jobs, job_id) == ["Hi", "Hello there!"]
    assert jobs.memory.turns.turns[job_id].attempt == 1
    (prompt,) = jobs.provider.prompts
    assert prompt.model == "amazon.nova-lite-v1:0"


@pytest.mark.anyio
async def test_a_job_answers_within_its_conversation(jobs):
    session_id = (await jobs.service.new_session(system_prompt="Be brief"))["session_id"]
    await jobs.service.call("POST", "/api/v1/chat", chat_body(session_id=session_id))
    job_id = await jobs.create(session_id=session_id, message="And?")
    await work(jobs, job_id)
    said = [part.text for u in jobs.provider.prompts[-1].utterances for part in u.parts]
    assert said == ["Hi", "Hello there!", "And?"]
    assert jobs.provider.prompts[-1].system == ("Be brief",)


@pytest.mark.anyio
async def test_a_message_that_comes_twice_has_its_job_done_once(jobs):
    job_id = await jobs.create()
    await work(jobs, job_id)
    await work(jobs, job_id, receives=2)
    assert len(jobs.provider.prompts) == 1
    assert await contents(jobs, job_id) == ["Hi", "Hello there!"]


@pytest.mark.anyio
async def test_of_two_workers_at_once_one_has_the_job(jobs):
    jobs.provider.script = [None, ["Once"], DONE]
    job_id = await jobs.create()
    first = asyncio.create_task(work(jobs, job_id))
    await jobs.provider.asked.wait()
    hidden = len(jobs.queues.hidden)
    await unfinished(jobs, job_id)
    # When the other message comes again the job is done: its queue says when that is.
    assert len(jobs.queues.hidden) == hidden
    jobs.provider.go.set()
    await first
    assert len(jobs.provider.prompts) == 1
    assert await contents(jobs, job_id) == ["Hi", "Once"]


@pytest.mark.anyio
async def test_two_workers_that_begin_at_once_store_one_answer(jobs):
    job_id = await jobs.create()
    results = await asyncio.gather(work(jobs, job_id), work(jobs, job_id), return_exceptions=True)
    assert {type(r) for r in results} <= {type(None), JobUnfinishedError}
    assert None in results
    assert len(jobs.provider.prompts) == 1
    assert await contents(jobs, job_id) == ["Hi", "Hello there!"]


@pytest.mark.anyio
@pytest.mark.parametrize("turn_id", ["nothing", ""])
async def test_a_message_of_no_job_is_done(jobs, turn_id):
    await work(jobs, turn_id)
    assert jobs.queues.hidden == []


@pytest.mark.anyio
async def test_a_message_of_a_turn_that_is_no_job_does_nothing(jobs):
    chat = await jobs.service.call("POST", "/api/v1/chat", chat_body())
    await work(jobs, chat.json()["turn_id"])
    assert len(jobs.provider.prompts) == 1


@pytest.mark.anyio
async def test_a_job_whose_session_is_gone_is_done(jobs):
    job_id = await jobs.create()
    session_id = (await jobs.job(job_id))["session_id"]
    await jobs.service.call("DELETE", f"/api/v1/sessions/{session_id}")
    await work(jobs, job_id)
    assert jobs.provider.prompts == []


@pytest.mark.anyio
async def test_a_job_whose_session_was_closed_fails(jobs):
    job_id = await jobs.create()
    session_id = (await jobs.job(job_id))["session_id"]
    await jobs.service.call("PATCH", f"/api/v1/sessions/{session_id}", {"status": "completed"})
    await work(jobs, job_id)
    job = await jobs.job(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "session_not_active")


@pytest.mark.anyio
async def test_a_job_whose_model_is_no_longer_there_fails(jobs):
    job_id = await jobs.create(model="llama3.2")
    turn = jobs.memory.turns.turns[job_id]
    jobs.memory.turns.turns[job_id] = replace(turn, model="withdrawn")
    await work(jobs, job_id)
    assert (await jobs.job(job_id))["error"]["code"] == "unknown_model"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [
        ProviderThrottledError(),
        ProviderUnavailableError(),
        ProviderTimeoutError(),
        RuntimeError("whatever"),
    ],
)
async def test_what_may_pass_puts_the_job_back_with_nothing_left_of_what_was_said(jobs, error):
    jobs.provider.script = [["Half"], error]
    session_id = (await jobs.service.new_session())["session_id"]
    job_id = await jobs.create(session_id=session_id)
    await unfinished(jobs, job_id)
    job = await jobs.job(job_id)
    assert (job["status"], job["error"], job["result"]) == ("queued", None, None)
    assert await contents(jobs, job_id) == ["Hi"]
    refused = await jobs.service.call("POST", "/api/v1/chat", chat_body(session_id=session_id))
    assert refused.json()["code"] == "turn_in_progress"
    jobs.provider.script = [["Whole"], DONE]
    await work(jobs, job_id, receives=2)
    assert await contents(jobs, job_id) == ["Hi", "Whole"]
    path = f"/api/v1/turns/{job_id}/events"
    got = events(await jobs.service.call("GET", path, last_event_id="0"))
    assert [(e["sequence"], e["type"], e.get("text")) for e in got] == [
        (1, "text", "Half"),
        (2, "restart", None),
        (3, "text", "Whole"),
        (4, "end", None),
    ]
    assert got[-1]["turn"]["attempt"] == 2


@pytest.mark.anyio
async def test_a_follower_hears_every_attempt_once_and_in_order(jobs):
    jobs.provider.script = [["Ha"], ProviderUnavailableError()]
    job_id = await jobs.create()
    path = f"/api/v1/turns/{job_id}/events"
    follower = asyncio.create_task(jobs.service.call("GET", path))
    await asyncio.sleep(0.02)
    await unfinished(jobs, job_id)
    await asyncio.sleep(0.03)
    jobs.provider.script = [["Whole"], DONE]
    await work(jobs, job_id, receives=2)
    got = events(await follower)
    assert [e["sequence"] for e in got] == [1, 2, 3, 4]
    assert [e["type"] for e in got] == ["text", "restart", "text", "end"]


@pytest.mark.anyio
async def test_a_message_comes_again_after_a_pause_that_doubles(jobs):
    jobs.provider.script = [ProviderUnavailableError()]
    jobs.worker.service._jitter = partial(full_jitter, random=lambda: 1.0)
    jobs.worker.service._max_receives = 100
    job_id = await jobs.create()
    for receives in (1, 2, 3, 20):
        await unfinished(jobs, job_id, receives)
    pauses = [seconds for _, seconds in jobs.queues.hidden if seconds != job_worker.HIDDEN_SECONDS]
    assert pauses == [10, 20, 40, 900]


@pytest.mark.anyio
async def test_a_message_does_not_come_before_the_provider_wants_it(jobs):
    jobs.provider.script = [ProviderThrottledError(retry_after=120)]
    job_id = await jobs.create()
    await unfinished(jobs, job_id)
    (*_, (_, seconds)) = jobs.queues.hidden
    assert 121 <= seconds <= 130


@pytest.mark.anyio
async def test_the_last_time_the_job_fails_and_its_message_becomes_a_dead_letter(jobs):
    jobs.provider.script = [["Half"], ProviderUnavailableError()]
    session_id = (await jobs.service.new_session())["session_id"]
    job_id = await jobs.create(session_id=session_id)
    for receives in range(1, MAX_RECEIVES + 1):
        await unfinished(jobs, job_id, receives)
    job = await jobs.job(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "provider_unavailable")
    assert job["result"]["message_id"] is not None
    assert await contents(jobs, job_id) == ["Hi", "Half"]
    assert len(jobs.provider.prompts) == MAX_RECEIVES


@pytest.mark.anyio
async def test_a_dead_letter_that_is_sent_again_has_its_job_tried_again(jobs):
    jobs.provider.script = [ProviderUnavailableError()]
    job_id = await jobs.create()
    await unfinished(jobs, job_id, MAX_RECEIVES)
    assert (await jobs.job(job_id))["status"] == "failed"
    jobs.provider.script = [["At last"], DONE]
    await work(jobs, job_id)
    job = await jobs.job(job_id)
    assert (job["status"], job["error"]) == ("completed", None)
    assert await contents(jobs, job_id) == ["Hi", "At last"]


@pytest.mark.anyio
async def test_a_job_is_not_tried_again_beside_another_turn(jobs):
    jobs.provider.script = [ProviderUnavailableError()]
    session_id = (await jobs.service.new_session())["session_id"]
    failed = await jobs.create(session_id=session_id)
    await unfinished(jobs, failed, MAX_RECEIVES)
    await jobs.create(session_id=session_id, message="Another")
    await unfinished(jobs, failed)
    assert (await jobs.job(failed))["status"] == "failed"


@pytest.mark.anyio
@pytest.mark.parametrize("error", [ProviderRejectedError(), ContextTooLongError()])
async def test_what_does_not_pass_fails_the_job_and_its_message_is_done(jobs, error):
    jobs.provider.script = [error]
    job_id = await jobs.create()
    await work(jobs, job_id)
    assert (await jobs.job(job_id))["error"]["code"] == error.code
    # Delivered twice, it is not asked twice.
    await work(jobs, job_id)
    assert len(jobs.provider.prompts) == 1


@pytest.mark.anyio
async def test_a_killed_workers_job_is_gone_on_with_and_leaves_one_answer(jobs):
    jobs.provider.script = [["Ha"], None, ["lf"], DONE]
    job_id = await jobs.create()
    stuck = await killed(jobs, job_id, events_written=1)
    old = jobs.provider
    successor(jobs)
    await work(jobs, job_id, receives=2)
    # It was only slow: its attempt is no longer its own.
    old.go.set()
    with pytest.raises(JobUnfinishedError):
        await stuck
    job = await jobs.job(job_id)
    assert job["status"] == "completed"
    assert jobs.memory.turns.turns[job_id].attempt == 2
    assert await contents(jobs, job_id) == ["Hi", "Hello there!"]
    path = f"/api/v1/turns/{job_id}/events"
    got = events(await jobs.service.call("GET", path, last_event_id="0"))
    assert [e["type"] for e in got] == ["text", "restart", "text", "text", "text", "end"]
    assert [e["sequence"] for e in got] == [1, 2, 3, 4, 5, 6]
    # What the first one had said is paid for, too, as far as is known.
    charges = jobs.memory.money.charges
    assert {key: charge.estimated for key, charge in charges.items()} == {
        (job_id, 1, 1): True,
        (job_id, 2, 1): False,
    }


@pytest.mark.anyio
async def test_who_reads_the_job_of_a_killed_worker_does_not_end_it(jobs):
    jobs.provider.script = [["Ha"], None]
    job_id = await jobs.create()
    stuck = await killed(jobs, job_id, events_written=1)
    assert (await jobs.job(job_id))["status"] == "running"
    jobs.clock.pass_seconds(JOB_PATIENCE_SECONDS)
    # Its message came for the last time, or is lost.
    job = await jobs.job(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "turn_interrupted")
    assert await contents(jobs, job_id) == ["Hi"]
    with pytest.raises(JobUnfinishedError):
        await stuck
    successor(jobs)
    await work(jobs, job_id)
    assert (await jobs.job(job_id))["status"] == "completed"


@pytest.mark.anyio
async def test_the_job_of_a_killed_worker_is_cancelled_at_once(jobs):
    jobs.provider.script = [None]
    job_id = await jobs.create()
    stuck = await killed(jobs, job_id)
    answer = await jobs.service.call("POST", f"/api/v1/turns/{job_id}/cancel")
    assert answer.json()["status"] == "cancelled"
    with pytest.raises(JobUnfinishedError):
        await stuck
    successor(jobs)
    await work(jobs, job_id)
    assert jobs.provider.prompts == []


@pytest.mark.anyio
async def test_a_job_that_was_cancelled_before_its_worker_was_killed_is_not_begun_again(jobs):
    jobs.provider.script = [None]
    job_id = await jobs.create()
    stuck = await killed(jobs, job_id)
    stuck.cancel()
    turn = jobs.memory.turns.turns[job_id]
    jobs.memory.turns.turns[job_id] = replace(turn, cancelling=True)
    successor(jobs)
    await work(jobs, job_id)
    assert (await jobs.job(job_id))["status"] == "cancelled"
    assert jobs.provider.prompts == []


@pytest.mark.anyio
async def test_a_running_job_is_cancelled_as_chats_are(jobs):
    jobs.provider.script = [["Half"], None]
    job_id = await jobs.create()
    working = asyncio.create_task(work(jobs, job_id))
    await jobs.provider.asked.wait()
    await jobs.service.call("POST", f"/api/v1/turns/{job_id}/cancel")
    await working
    assert (await jobs.job(job_id))["status"] == "cancelled"
    assert jobs.provider.broken_off == 1
    assert await contents(jobs, job_id) == ["Hi", "Half"]


@pytest.mark.anyio
async def test_a_job_that_fails_while_it_is_to_be_cancelled_does_not_wait_again(jobs, monkeypatch):
    monkeypatch.setattr("functions.ai.domain.runner.WATCH_SECONDS", 60)
    jobs.provider.script = [None, ProviderUnavailableError()]
    job_id = await jobs.create()
    working = asyncio.create_task(work(jobs, job_id))
    await jobs.provider.asked.wait()
    await jobs.service.call("POST", f"/api/v1/turns/{job_id}/cancel")
    jobs.provider.script = [ProviderUnavailableError()]
    jobs.provider.go.set()
    await working
    assert (await jobs.job(job_id))["status"] == "cancelled"


@pytest.mark.anyio
async def test_a_message_is_kept_from_others_while_its_worker_lives(jobs, monkeypatch):
    monkeypatch.setattr("functions.ai.domain.job_worker.HIDE_SECONDS", 0.01)
    jobs.provider.script = [None, ["Late"], DONE]
    job_id = await jobs.create()
    working = asyncio.create_task(work(jobs, job_id))
    async with asyncio.timeout(5):
        while len(jobs.queues.hidden) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert set(jobs.queues.hidden) == {(job_id, job_worker.HIDDEN_SECONDS)}
    jobs.provider.go.set()
    await working
    told = len(jobs.queues.hidden)
    await asyncio.sleep(0.05)
    assert len(jobs.queues.hidden) == told


def test_a_killed_workers_message_comes_when_its_lease_is_over():
    assert job_worker.HIDDEN_SECONDS - job_worker.HIDE_SECONDS > LEASE_SECONDS
    assert JOB_PATIENCE_SECONDS > job_worker.HIDDEN_SECONDS + job_worker.LONGEST_PAUSE_SECONDS


@pytest.mark.anyio
async def test_a_queue_that_does_not_answer_does_not_end_the_work(jobs):
    jobs.queues.failure = QueueUnavailableError()
    job_id = await jobs.create()
    await work(jobs, job_id)
    assert (await jobs.job(job_id))["status"] == "completed"


@pytest.mark.anyio
async def test_a_store_that_does_not_answer_has_the_message_come_again(jobs):
    job_id = await jobs.create()
    jobs.memory.sessions.failure = StoreUnavailableError()
    with pytest.raises(StoreUnavailableError):
        await work(jobs, job_id)
    assert jobs.queues.hidden[-1][1] <= job_worker.FIRST_PAUSE_SECONDS
    jobs.memory.sessions.failure = None
    await work(jobs, job_id, receives=2)
    assert (await jobs.job(job_id))["status"] == "completed"


@pytest.mark.anyio
async def test_a_conversation_that_cannot_be_read_fails_no_job(jobs, monkeypatch):
    job_id = await jobs.create()

    async def fail(_session_id: str) -> None:
        raise StoreUnavailableError

    with monkeypatch.context() as patch:
        patch.setattr(jobs.memory.sessions, "get", fail)
        with pytest.raises(StoreUnavailableError):
            await work(jobs, job_id)
    assert (await jobs.job(job_id))["status"] == "queued"


@pytest.mark.anyio
async def test_an_answer_that_could_not_be_stored_is_asked_for_again(jobs):
    jobs.provider.script = [None, ["Lost"], DONE]
    job_id = await jobs.create()
    working = asyncio.create_task(work(jobs, job_id))
    await jobs.provider.asked.wait()
    jobs.memory.sessions.failure = StoreUnavailableError()
    jobs.provider.go.set()
    with pytest.raises(JobUnfinishedError):
        await working
    (*_, (_, seconds)) = jobs.queues.hidden
    assert seconds > LEASE_SECONDS
    jobs.memory.sessions.failure = None
    jobs.clock.pass_seconds(seconds)
    jobs.provider.script = [["Found"], DONE]
    await work(jobs, job_id, receives=2)
    assert await contents(jobs, job_id) == ["Hi", "Found"]


@pytest.mark.anyio
@pytest.mark.parametrize("body", ["", "no JSON", "[]", "{}", "null", '"turn"'])
async def test_what_is_no_message_goes_back_until_it_is_a_dead_letter(jobs, body):
    with pytest.raises((ValueError, TypeError, KeyError)):
        await job_queue.work(jobs.worker, record("x", body=body))
    ((receipt, seconds),) = jobs.queues.hidden
    assert receipt == "x"
    assert seconds <= job_worker.FIRST_PAUSE_SECONDS


@pytest.mark.anyio
async def test_log_lines_of_a_job_belong_to_the_request_that_made_it(jobs, caplog, monkeypatch):
    seen = []
    get = jobs.memory.turns.get

    async def watched(turn_id):
        seen.append(current_context())
        return await get(turn_id)

    monkeypatch.setattr(jobs.memory.turns, "get", watched)
    trace = "0af7651916cd43dd8448eb211c80319c"
    body = {"turn_id": "t", "request_id": "r-1", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    await asyncio.create_task(job_queue.work(jobs.worker, record("t", body=json.dumps(body))))
    assert (seen[0].request_id, seen[0].trace.trace_id) == ("r-1", trace)


WORKER = "functions.ai.entrypoints.worker"


@pytest.fixture
def handler(monkeypatch, jobs):
    for name, value in {**WORKER_ENVIRONMENT, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    bootstrap = "functions.ai.bootstrap"
    monkeypatch.setattr(f"{bootstrap}.dynamodb_storage", lambda _s: jobs.memory.storage())
    providers = {"bedrock": jobs.provider}
    monkeypatch.setattr(f"{bootstrap}._providers", lambda _s: providers)
    monkeypatch.setattr(f"{bootstrap}.sqs_jobs", lambda _s: jobs.queues)
    yield importlib.import_module(WORKER).handler
    sys.modules.pop(WORKER, None)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_handler_names_the_messages_that_are_to_come_again(handler, jobs):
    good = asyncio.run(jobs.create())
    poison = record("poison", body="no JSON")
    answer = handler({"Records": [poison, record(good), record("unknown")]}, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m-poison"}]}
    assert asyncio.run(jobs.job(good))["status"] == "completed"


def test_a_batch_of_which_nothing_is_done_is_named_and_not_raised(handler, jobs):
    jobs.provider.script = [ProviderUnavailableError()]
    job_id = asyncio.run(jobs.create())
    answer = handler({"Records": [record(job_id)]}, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": f"m-{job_id}"}]}
