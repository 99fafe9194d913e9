"""Jobs whose message is gone are sent again, and end when nobody wants them any more."""

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from functions.ai.bootstrap import Storage
from functions.ai.domain.errors import QueueUnavailableError
from functions.ai.domain.job_ports import JobMessage
from functions.ai.domain.job_sweep import GIVEN_UP_AFTER, LATE_AFTER
from functions.ai.domain.turns import Failure, Job, Turn
from functions.ai.domain.upkeep import UpkeepUnfinishedError
from functions.ai.routes.job_queue import work
from functions.ai.settings import MIN_SESSION_DAYS
from servicekit.clock import to_text
from servicekit.errors import StoreUnavailableError
from tests.fakes.jobs import MemoryQueues, record, worker
from tests.fakes.memory import Memory, ScriptedProvider
from tests.integration.conftest import TABLE
from tests.integration.test_session_sweep import Clock, upkeep
from tests.integration.test_storage import draft, session
from tests.integration.test_turn_storage import turn

pytestmark = pytest.mark.anyio

SHORT = timedelta(seconds=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queues() -> MemoryQueues:
    return MemoryQueues()


async def queued(
    storage: Storage, at: datetime, name: str = "t1", job: Job | None = None, **fields
) -> Turn:
    """A job that waits since then, in a session of its own."""
    made = turn(
        name,
        session_id=f"s-{name}",
        status="queued",
        created_at=at,
        updated_at=at,
        lease_expires_at=0,
        job=job or Job("normal", "r-1", "00-trace"),
        **fields,
    )
    question = draft(turn_id=name, created_at=at)
    begun = session(made.session_id, created_at=at)
    await storage.turns.begin(begun, [question], made, None, new=True)
    return made


def sent(queues: MemoryQueues) -> list[tuple[str, str]]:
    return [(priority, message.turn_id) for priority, message in queues.sent]


async def test_a_late_job_is_sent_again_once_in_eight_hours(storage, clock, queues):
    start = clock.now
    await queued(storage, start)
    await queued(storage, start, "t2", Job("high"))
    clock.now = start + LATE_AFTER
    await upkeep(storage, clock, queues=queues).run(60)
    assert queues.sent == []
    clock.now += SHORT
    for _ in range(3):
        await upkeep(storage, clock, queues=queues).run(60)
        assert sorted(queues.sent, key=str) == [
            ("high", JobMessage("t2")),
            ("normal", JobMessage("t1", "r-1", "00-trace")),
        ]
        clock.now += LATE_AFTER / 3 - SHORT
    clock.now += LATE_AFTER / 3
    await upkeep(storage, clock, queues=queues).run(60)
    assert sorted(sent(queues)) == [("high", "t2")] * 2 + [("normal", "t1")] * 2


async def test_a_job_that_is_at_work_or_over_is_left_alone(storage, clock, queues):
    start = clock.now
    taken = await queued(storage, start)
    await storage.turns.retry(taken, replace(taken, status="running", lease_expires_at=10**10))
    over = await queued(storage, start, "t2")
    await upkeep(storage, clock, queues=queues)._jobs._end(over, start)
    clock.now = start + GIVEN_UP_AFTER + SHORT
    await upkeep(storage, clock, queues=queues).run(60)
    assert queues.sent == []
    assert (await storage.turns.get("t1")).status == "running"
    assert (await storage.turns.get("t2")).updated_at == start


async def test_an_old_job_fails_and_lets_go_of_its_session(storage, clock, queues, caplog):
    caplog.set_level(logging.INFO)
    start = clock.now
    await queued(storage, start, first_event=5)
    clock.now = start + GIVEN_UP_AFTER
    await upkeep(storage, clock, queues=queues).run(60)
    assert sent(queues) == [("normal", "t1")]
    clock.now += LATE_AFTER + SHORT
    for _ in range(2):
        await upkeep(storage, clock, queues=queues).run(60)
    assert len(queues.sent) == 1
    ended = await storage.turns.get("t1")
    assert (ended.status, ended.updated_at, ended.last_event) == ("failed", clock.now, 4)
    assert ended.failure == Failure("job_expired", "The job waited too long to be begun", 503)
    assert (await storage.sessions.get("s-t1")).turn_id is None
    assert [r.getMessage() for r in caplog.records if hasattr(r, "turn_id")] == [
        "late job sent again",
        "late job ended",
    ]


async def test_whoever_has_a_message_of_an_ended_job_has_nothing_to_do(clock):
    memory = Memory()
    await queued(memory.storage(), clock.now)
    clock.now += GIVEN_UP_AFTER + SHORT
    await upkeep(memory.storage(), clock).run(60)
    provider = ScriptedProvider()
    await work(worker(memory, provider, MemoryQueues(), clock), record("t1"))
    assert provider.prompts == []


async def test_a_job_that_a_worker_takes_meanwhile_is_not_ended(dynamodb, clock):
    """The index is behind, and what was read is out of date."""
    waiting = await queued(dynamodb, clock.now)
    clock.now += GIVEN_UP_AFTER + SHORT
    sweep = upkeep(dynamodb, clock)
    get = dynamodb.turns.get

    async def outdated(turn_id: str) -> Turn | None:
        found = await get(turn_id)
        running = replace(waiting, status="running", lease_expires_at=10**10)
        await dynamodb.turns.retry(waiting, running)
        return found

    dynamodb.turns.get = outdated
    await sweep.run(60)
    assert (await get("t1")).status == "running"


async def test_a_job_whose_session_is_gone_waits_in_nobodys_way(dynamodb, clock, queues):
    await queued(dynamodb, clock.now)
    await dynamodb.sessions.hide("s-t1")
    clock.now += GIVEN_UP_AFTER + SHORT
    sweep = upkeep(dynamodb, clock, queues=queues)
    assert await sweep._jobs.sweep(10**9) == 0
    found = [page async for page in dynamodb.upkeep.queued_before(clock.now)]
    assert found == []
    await sweep.run(60)
    assert await dynamodb.turns.get("t1") is None


async def test_a_queue_that_does_not_answer_fails_the_run_and_nothing_else(storage, clock, queues):
    start = clock.now
    await queued(storage, start)
    await queued(storage, start - GIVEN_UP_AFTER, "t2")
    clock.now = start + LATE_AFTER + SHORT
    queues.failure = QueueUnavailableError()
    with pytest.raises(UpkeepUnfinishedError):
        await upkeep(storage, clock, queues=queues).run(60)
    assert (await storage.turns.get("t2")).status == "failed"
    queues.failure = None
    await upkeep(storage, clock, queues=queues).run(60)
    assert sent(queues) == [("normal", "t1")]


async def test_a_crash_behind_the_sending_sends_it_once_more(dynamodb, clock, queues):
    await queued(dynamodb, clock.now)
    clock.now += LATE_AFTER + SHORT
    put_off = dynamodb.upkeep.put_off

    async def dying(_turn: Turn, _at: datetime) -> None:
        raise StoreUnavailableError

    dynamodb.upkeep.put_off = dying
    with pytest.raises(UpkeepUnfinishedError):
        await upkeep(dynamodb, clock, queues=queues).run(60)
    dynamodb.upkeep.put_off = put_off
    await upkeep(dynamodb, clock, queues=queues).run(60)
    await upkeep(dynamodb, clock, queues=queues).run(60)
    assert sent(queues) == [("normal", "t1")] * 2


async def test_many_late_jobs_are_seen_to_page_by_page(dynamodb, clock, queues):
    start = clock.now
    for number in range(35):
        await queued(dynamodb, start + timedelta(seconds=number), f"t{number}")
    clock.now = start + LATE_AFTER + timedelta(minutes=1)
    await upkeep(dynamodb, clock, queues=queues).run(0)
    first = sent(queues)
    # Those that wait longest come first, and a run that is out of time begins no other page.
    assert 0 < len(first) < 35
    assert sorted(first) == sorted(("normal", f"t{n}") for n in range(len(first)))
    await asyncio.gather(*(upkeep(dynamodb, clock, queues=queues).run(60) for _ in range(3)))
    assert {turn_id for _, turn_id in sent(queues)} == {f"t{n}" for n in range(35)}


async def test_only_jobs_that_wait_stand_in_the_index(dynamodb, clock, make_client):
    def listed() -> list[str]:
        answer = make_client().query(
            TableName=TABLE,
            IndexName="gsi3",
            KeyConditionExpression="gsi3pk = :pk",
            ExpressionAttributeValues={":pk": {"S": "QUEUED"}},
        )
        return [item["gsi3sk"]["S"] for item in answer["Items"]]

    await dynamodb.turns.begin(session(), [draft(turn_id="t0")], turn("t0"), None, new=True)
    waiting = await queued(dynamodb, clock.now)
    assert listed() == [f"{to_text(clock.now)}#t1"]
    await dynamodb.turns.retry(waiting, replace(waiting, status="running", lease_expires_at=1))
    assert listed() == []
    await dynamodb.upkeep.put_off(waiting, clock.now)
    assert listed() == []


def test_no_session_ends_before_its_jobs():
    assert timedelta(days=MIN_SESSION_DAYS) > GIVEN_UP_AFTER + 2 * LATE_AFTER
