"""Jobs: accepted, waiting, cancelled, told; what their callers see."""

import asyncio

import pytest

from functions.ai.domain.errors import EventsUnavailableError, QueueUnavailableError
from functions.ai.domain.job_dispatcher import JobDispatcher
from functions.ai.domain.job_ports import JobChange, JobMessage
from functions.ai.domain.turns import Job
from functions.ai.routes import job_queue
from tests.fakes.ai_app import chat_body
from tests.fakes.jobs import Jobs, MemoryEvents, MemoryProgress, MemoryQueues, record
from tests.unit.ai.test_turns import events

pytestmark = pytest.mark.anyio

JOBS = "/api/v1/jobs"
BODY = {"message": "Hi", "project_id": 7, "user_id": 3}


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    """What is waited for is the same, at another pace."""
    monkeypatch.setattr("functions.ai.domain.turn_service.POLL_SECONDS", 0.01)
    monkeypatch.setattr("functions.ai.domain.runner.WATCH_SECONDS", 0.01)


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


async def work(jobs: Jobs, job_id: str) -> None:
    await job_queue.work(jobs.worker, record(job_id))


async def test_a_job_is_accepted_and_waits(jobs):
    answer = await jobs.service.call("POST", JOBS, {**BODY, "priority": "high"})
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["status"] == "queued"
    job = await jobs.job(accepted["job_id"])
    assert (job["status"], job["priority"], job["progress"]) == ("queued", "high", 0.0)
    assert (job["result"], job["error"]) == (None, None)
    assert (job["project_id"], job["user_id"]) == (7, 3)
    assert job["session_id"] == accepted["session_id"]
    assert jobs.provider.prompts == []
    messages = await jobs.service.messages(job["session_id"])
    assert [(m["role"], m["content"]) for m in messages] == [("user", "Hi")]


async def test_a_job_remembers_the_request_that_made_it(jobs):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await jobs.service.call("POST", JOBS, BODY, x_request_id="r-1", traceparent=trace)
    job = jobs.memory.turns.turns[answer.json()["job_id"]].job
    assert job.request_id == "r-1"
    assert job.traceparent.split("-")[1] == trace.split("-")[1]
    assert job.priority == "normal"


async def test_a_done_job_tells_ids_and_usage_but_no_text(jobs):
    job_id = await jobs.create()
    await work(jobs, job_id)
    job = await jobs.job(job_id)
    assert (job["status"], job["progress"], job["error"]) == ("completed", 1.0, None)
    (_, answer) = await jobs.service.messages(job["session_id"])
    assert answer["content"] == "Hello there!"
    assert job["result"] == {
        "turn_id": job_id,
        "message_id": answer["id"],
        "usage": {
            "input": 100,
            "output": 20,
            "cache_read": 0,
            "cache_write": 0,
            "cache_write_1h": 0,
            "reasoning": 0,
        },
        "usage_estimated": False,
        "delivered_tokens": None,
        "cost": answer["cost"],
        "stop": "end",
    }


@pytest.mark.parametrize("job_id", ["nothing", "x" * 3000])
async def test_a_job_that_does_not_exist_is_a_404(jobs, job_id):
    answer = await jobs.service.call("GET", f"{JOBS}/{job_id}")
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


async def test_a_turn_that_is_no_job_is_no_job(jobs):
    chat = await jobs.service.call("POST", "/api/v1/chat", chat_body())
    answer = await jobs.service.call("GET", f"{JOBS}/{chat.json()['turn_id']}")
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


@pytest.mark.parametrize("fields", [{"priority": "urgent"}, {"message": ""}, {"user_id": 0}])
async def test_what_breaks_the_contract_is_refused(jobs, fields):
    answer = await jobs.service.call("POST", JOBS, {**BODY, **fields})
    assert answer.status_code == 422
    assert jobs.memory.turns.turns == {}


async def test_a_job_holds_its_session_from_the_start_and_lets_it_go(jobs):
    session_id = (await jobs.service.new_session())["session_id"]
    job_id = await jobs.create(session_id=session_id)
    for path in ("/api/v1/chat", JOBS):
        body = (
            chat_body(session_id=session_id) if path != JOBS else {**BODY, "session_id": session_id}
        )
        refused = await jobs.service.call("POST", path, body)
        assert (refused.status_code, refused.json()["code"]) == (409, "turn_in_progress")
        assert refused.json()["turn_id"] == job_id
    await work(jobs, job_id)
    again = await jobs.service.call("POST", "/api/v1/chat", chat_body(session_id=session_id))
    assert again.status_code == 200


async def test_a_key_gives_the_same_job_whatever_became_of_it(jobs):
    first = await jobs.service.call("POST", JOBS, BODY, idempotency_key="k")
    again = await jobs.service.call("POST", JOBS, BODY, idempotency_key="k")
    await work(jobs, first.json()["job_id"])
    done = await jobs.service.call("POST", JOBS, BODY, idempotency_key="k")
    assert first.status_code == again.status_code == done.status_code == 202
    assert first.json() == again.json() == done.json()
    assert len(jobs.memory.turns.turns) == 1
    other = await jobs.service.call("POST", JOBS, {**BODY, "message": "Ho"}, idempotency_key="k")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_another_persons_session_takes_no_job(jobs):
    session_id = (await jobs.service.new_session())["session_id"]
    answer = await jobs.service.call("POST", JOBS, {**BODY, "user_id": 4, "session_id": session_id})
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")


async def test_a_waiting_job_is_cancelled_at_once(jobs):
    job_id = await jobs.create()
    answer = await jobs.service.call("POST", f"/api/v1/turns/{job_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    job = await jobs.job(job_id)
    assert (job["status"], job["error"]["code"]) == ("cancelled", "turn_cancelled")
    await work(jobs, job_id)
    assert jobs.provider.prompts == []
    chat = await jobs.service.call("POST", "/api/v1/chat", chat_body(session_id=job["session_id"]))
    assert chat.status_code == 200


async def test_a_job_that_is_taken_while_it_is_cancelled_is_asked_to_stop(jobs, monkeypatch):
    job_id = await jobs.create()
    jobs.provider.script = [None]
    conclude = jobs.memory.turns.conclude

    async def late(turn, ending):
        monkeypatch.setattr(jobs.memory.turns, "conclude", conclude)
        working.append(asyncio.create_task(work(jobs, job_id)))
        await jobs.provider.asked.wait()
        return await conclude(turn, ending)

    working: list[asyncio.Task[None]] = []
    monkeypatch.setattr(jobs.memory.turns, "conclude", late)
    answer = await jobs.service.call("POST", f"/api/v1/turns/{job_id}/cancel")
    assert (answer.json()["status"], answer.json()["cancelling"]) == ("running", True)
    await working[0]
    assert (await jobs.job(job_id))["status"] == "cancelled"


async def test_a_job_whose_session_is_being_deleted_is_told_as_it_is(jobs):
    job_id = await jobs.create()
    turn = jobs.memory.turns.turns[job_id]
    # The session goes first, its turns behind it.
    jobs.memory.sessions.sessions.pop(turn.session_id)
    async with asyncio.timeout(5):
        answer = await jobs.service.call("POST", f"/api/v1/turns/{job_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")


async def test_a_job_is_followed_from_its_queue_to_its_end(jobs):
    job_id = await jobs.create()
    path = f"/api/v1/turns/{job_id}/events"
    follower = asyncio.create_task(jobs.service.call("GET", path))
    await asyncio.sleep(0.03)
    assert not follower.done()
    await work(jobs, job_id)
    got = events(await follower)
    assert [e.get("text") for e in got] == ["Hello", " there", "!", None]
    assert got[-1]["turn"]["status"] == "completed"


async def test_what_is_done_with_jobs_is_recorded(jobs):
    job_id = await jobs.create()
    await jobs.job(job_id)
    await jobs.service.call("GET", f"{JOBS}/nothing")
    recorded = [(e["action"], e["metadata"]["outcome"]) for e in jobs.memory.outbox.events]
    assert recorded == [
        ("ai.job.create", "allowed"),
        ("ai.job.read", "allowed"),
        ("ai.job.read", "denied"),
    ]


async def changes(jobs: Jobs, *priorities: str) -> list[JobChange]:
    ids = [await jobs.create(priority=priority) for priority in priorities]
    return [JobChange(None, jobs.memory.turns.turns[job_id]) for job_id in ids]


async def test_new_jobs_go_to_the_queue_of_their_priority_and_changes_are_told(jobs):
    queues, bus = MemoryQueues(), MemoryEvents()
    new = await changes(jobs, "normal", "high", "normal")
    updated = JobChange("queued", new[0].turn)
    await JobDispatcher(queues, bus, MemoryProgress()).dispatch([*new, updated])
    assert [(p, m.turn_id) for p, m in queues.sent] == [
        ("normal", new[0].turn.turn_id),
        ("normal", new[2].turn.turn_id),
        ("high", new[1].turn.turn_id),
    ]
    assert bus.told == [*new, updated]
    job: Job = new[0].turn.job
    assert queues.sent[0][1] == JobMessage(new[0].turn.turn_id, job.request_id, job.traceparent)
    assert job.request_id


async def test_a_batch_that_comes_again_for_its_events_sends_no_second_message(jobs):
    queues, bus = MemoryQueues(), MemoryEvents()
    dispatcher = JobDispatcher(queues, bus, MemoryProgress())
    new = await changes(jobs, "normal", "high")

    bus.failure = EventsUnavailableError()
    with pytest.raises(EventsUnavailableError):
        await dispatcher.dispatch(new)
    assert len(queues.sent) == 2
    bus.failure = None
    await dispatcher.dispatch(new)
    assert len(queues.sent) == 2
    assert bus.told == new


async def test_a_message_that_was_not_sent_comes_with_the_next_try(jobs):

    queues, bus = MemoryQueues(), MemoryEvents()
    dispatcher = JobDispatcher(queues, bus, MemoryProgress())
    new = await changes(jobs, "normal")
    queues.failure = QueueUnavailableError()
    with pytest.raises(QueueUnavailableError):
        await dispatcher.dispatch(new)
    assert bus.told == []
    queues.failure = None
    await dispatcher.dispatch(new)
    assert len(queues.sent) == len(bus.told) == 1
