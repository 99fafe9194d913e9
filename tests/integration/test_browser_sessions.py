"""Sessions, leases and places as DynamoDB keeps them, and commands that run under them."""

import asyncio
import importlib
import sys
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.session import get_session

from contracts.browser.steps import DeniedAddress, StepBatch
from functions.browser.adapters.dynamodb_sessions import DynamoSessions
from functions.browser.adapters.s3_objects import S3Objects
from functions.browser.domain.leases import MARGIN
from functions.browser.domain.session_errors import (
    NotLiveError,
    OutcomeUnknownError,
    SessionBusyError,
    SessionLimitError,
    SessionNotFoundError,
    WorkerUnavailableError,
)
from functions.browser.domain.sessions import Caller, NewSession
from servicekit.audit import AuditUnavailableError
from servicekit.dynamodb import DynamoRecords, DynamoTable
from servicekit.errors import StoreUnavailableError
from servicekit.idempotency import Request
from tests.fakes.browser import LIMITS, Pool, PoolClock, reply
from tests.integration.conftest import TABLE

pytestmark = pytest.mark.anyio

CALLER = Caller("arn:aws:sts::1:assumed-role/projectflow-api")
BUDGET = timedelta(seconds=20)
PAGES = [{"page_id": f"p{n}", "url": "about:blank", "title": ""} for n in (1, 2)]


@pytest.fixture
def pool(table):
    return Pool(DynamoSessions(table), DynamoRecords(table), PoolClock())


def wanted(user_id=None, project_id=None):
    return NewSession(user_id=user_id, project_id=project_id, metadata={"card": {"id": 7}})


async def open_session(pool, **owner):
    return await pool.sessions.create(CALLER, wanted(**owner), None)


async def run_as(pool, caller, session, *steps, require=None, **options):
    fields = {"steps": steps or [{"action": "navigate", "url": "https://example.com/"}]}
    batch = StepBatch.model_validate({**fields, "require": require})
    return await pool.dispatcher.run(caller, session.session_id, batch, budget=BUDGET, **options)


async def run(pool, session, *steps, **options):
    return await run_as(pool, CALLER, session, *steps, **options)


def denied(host, port, times=1):
    return DeniedAddress(host=host, port=port, rule="address", times=times)


def forward(pool, seconds):
    pool.clock.now += timedelta(seconds=seconds)


async def test_a_session_is_found_as_it_was_made(pool):
    made = await open_session(pool, user_id=3, project_id=7)
    assert await pool.sessions.find(CALLER, made.session_id) == made
    assert await pool.sessions.list(CALLER) == [made]
    assert [event["action"] for event in pool.outbox.events] == ["browser.session.create"]


async def test_other_peoples_sessions_do_not_exist(pool):
    made = await open_session(pool, user_id=3)
    for stranger in (Caller("arn:other"), Caller(CALLER.principal, user_id=4)):
        with pytest.raises(SessionNotFoundError):
            await pool.sessions.find(stranger, made.session_id)
        with pytest.raises(SessionNotFoundError):
            await pool.sessions.close(stranger, made.session_id)
        with pytest.raises(SessionNotFoundError):
            await run_as(pool, stranger, made)
        assert await pool.sessions.list(stranger) == []
    assert pool.worker.commands == []


@pytest.mark.parametrize(
    ("owners", "reason"),
    [
        ([{"user_id": 3}] * 3, "user"),
        ([{"project_id": 7, "user_id": n} for n in range(1, 5)], "project"),
        ([{}] * 5, "pool"),
    ],
)
async def test_a_limit_names_itself_and_takes_no_place(pool, owners, reason):
    for owner in owners[:-1]:
        await open_session(pool, **owner)
    with pytest.raises(SessionLimitError) as refused:
        await open_session(pool, **owners[-1])
    assert refused.value.extensions["reason"] == reason
    assert refused.value.headers["Retry-After"] == "5"
    assert await pool.sessions.active() == (len(owners) - 1, LIMITS.pool - len(owners) + 1)


async def test_checkpoints_go_with_the_session_and_hold_up_nobody(pool):
    closed, expired, left = [await open_session(pool) for _ in range(3)]
    await pool.sessions.close(CALLER, closed.session_id)
    assert pool.objects.forgotten == [closed.session_id]
    pool.objects.failure = StoreUnavailableError()
    await pool.sessions.close(CALLER, left.session_id)
    assert await pool.store.held("POOL") == 1
    pool.objects.failure = None
    forward(pool, LIMITS.idle.total_seconds() + 1)
    assert await pool.reaper.reap() == 1
    assert pool.objects.forgotten == [closed.session_id, expired.session_id]


async def test_a_sessions_checkpoints_are_removed_and_no_other_objects(make_client):
    s3 = get_session().create_client("s3")
    s3.create_bucket(Bucket="objects")
    keys = ["sessions/a/checkpoints/1", "sessions/a/checkpoints/2", "sessions/a/files/x",
            "sessions/ab/checkpoints/1"]  # fmt: skip
    for key in keys:
        s3.put_object(Bucket="objects", Key=key, Body=b"x")
    objects = S3Objects("objects", lambda: s3)
    for _ in range(2):
        await objects.forget("a")
    found = [one["Key"] for one in s3.list_objects_v2(Bucket="objects")["Contents"]]
    assert found == keys[2:]
    (file,) = await objects.files("a", "", 10)
    assert (file.name, file.size) == ("x", 1)


async def test_places_come_back_once(pool):
    made = await open_session(pool, user_id=3, project_id=7)
    await open_session(pool, user_id=3)
    await pool.sessions.close(CALLER, made.session_id)
    with pytest.raises(SessionNotFoundError):
        await pool.sessions.close(CALLER, made.session_id)
    assert await pool.store.held("POOL") == 1
    assert await pool.store.held("USER#3") == 1
    assert await pool.store.held("PROJECT#7") == 0


async def test_many_at_once_never_pass_the_limit(pool):
    opened = await asyncio.gather(*(open_session(pool) for _ in range(7)), return_exceptions=True)
    assert len([one for one in opened if isinstance(one, Exception)]) >= 3
    listed = await pool.sessions.list(CALLER)
    assert len(listed) == await pool.store.held("POOL") <= LIMITS.pool


async def test_a_key_opens_one_session(pool):
    request = Request("key", "print")
    first = await pool.sessions.create(CALLER, wanted(), request)
    assert await pool.sessions.create(CALLER, wanted(), request) == first
    assert await pool.store.held("POOL") == 1


async def test_what_cannot_be_recorded_is_not_done(pool):
    pool.outbox.failure = AuditUnavailableError()
    with pytest.raises(AuditUnavailableError):
        await open_session(pool)
    assert await pool.store.held("POOL") == 0


async def test_commands_know_where_the_browser_was(pool):
    session = await open_session(pool)
    await run(pool, session)
    pool.worker.script = [reply(env_id="env-2", continuity="rehydrated", pages=PAGES)]
    answer = await run(pool, session)
    first, second = pool.worker.commands
    assert (first.epoch, first.live_epoch, first.env_id) == (1, None, None)
    assert (first.restore_from, first.store_to) == (None, "put 1")
    assert (second.epoch, second.live_epoch, second.env_id) == (2, 1, "env-1")
    assert (second.restore_from, second.store_to) == ("get 1", "put 2")
    assert answer.result.continuity == "rehydrated"
    found = await pool.sessions.find(CALLER, session.session_id)
    assert (found.continuity, found.page_count, found.env_id) == ("rehydrated", 2, "env-2")
    assert found.busy_until is None


async def test_a_checkpoint_that_was_not_stored_leaves_the_one_before(pool):
    session = await open_session(pool)
    pool.worker.script = [reply(), reply(checkpoint_stored=False), reply()]
    for _ in range(3):
        await run(pool, session)
    assert pool.worker.commands[2].restore_from == "get 1"
    assert pool.worker.commands[2].live_epoch == 2


async def test_one_command_at_a_time(pool):
    session = await open_session(pool)
    lease = await pool.leases.take(session.session_id, work=BUDGET, patience=timedelta())
    with pytest.raises(SessionBusyError) as refused:
        await run(pool, session)
    assert refused.value.headers["Retry-After"] == str(int((BUDGET + MARGIN).total_seconds()))
    assert pool.worker.commands == []
    await pool.leases.abandon(lease)
    assert (await run(pool, session)).result.continuity == "live"


async def test_who_has_patience_waits_for_its_turn_and_no_longer(pool):
    session = await open_session(pool)
    await pool.leases.take(session.session_id, work=BUDGET, patience=timedelta())
    with pytest.raises(SessionBusyError):
        await run(pool, session, patience=timedelta(seconds=2))
    assert sum(pool.clock.slept) == 2
    await run(pool, session, patience=timedelta(seconds=60))
    assert [command.epoch for command in pool.worker.commands] == [2]


async def test_a_late_command_does_not_overwrite_its_successor(pool):
    session = await open_session(pool)
    late = await pool.leases.take(session.session_id, work=BUDGET, patience=timedelta())
    forward(pool, 30)
    await run(pool, session)
    with pytest.raises(SessionNotFoundError):
        await pool.leases.finish(late, replace(late.session, env_id="late"))
    assert (await pool.sessions.find(CALLER, session.session_id)).env_id == "env-1"


async def test_a_command_that_was_not_begun_makes_nobody_wait(pool):
    session = await open_session(pool)
    pool.worker.script = [WorkerUnavailableError(retry_after=1)]
    with pytest.raises(WorkerUnavailableError):
        await run(pool, session)
    await run(pool, session)


async def test_a_command_without_links_is_not_begun_and_makes_nobody_wait(pool):
    session = await open_session(pool)
    pool.objects.failure = StoreUnavailableError()
    with pytest.raises(StoreUnavailableError):
        await run(pool, session)
    pool.objects.failure = None
    await run(pool, session)
    assert len(pool.worker.commands) == 1


async def test_denials_are_recorded_though_the_session_was_closed_meanwhile(pool, monkeypatch):
    session = await open_session(pool)

    async def close_and_answer(_command):
        await pool.sessions.close(CALLER, session.session_id)
        return reply(denied=[denied("10.0.0.1", 80)])

    monkeypatch.setattr(pool.worker, "run", close_and_answer)
    with pytest.raises(SessionNotFoundError):
        await run(pool, session)
    assert pool.outbox.events[-1]["action"] == "browser.egress"


async def test_after_an_unknown_outcome_the_lease_has_to_end(pool):
    session = await open_session(pool)
    pool.worker.script = [OutcomeUnknownError()]
    with pytest.raises(OutcomeUnknownError):
        await run(pool, session)
    with pytest.raises(SessionBusyError):
        await run(pool, session)
    forward(pool, (BUDGET + MARGIN).total_seconds())
    await run(pool, session)
    assert pool.worker.commands[-1].live_epoch is None


async def test_who_requires_the_live_browser_is_told_that_it_is_gone(pool):
    session = await open_session(pool)
    await run(pool, session)
    pool.worker.script = [reply(refused=True, continuity="rehydrated", env_id="env-2")]
    with pytest.raises(NotLiveError) as refused:
        await run(pool, session, require="live")
    assert refused.value.extensions == {"continuity": "rehydrated"}
    found = await pool.sessions.find(CALLER, session.session_id)
    assert (found.env_id, found.live_epoch, found.busy_until) == ("env-1", 1, None)


async def test_a_session_that_was_closed_under_a_command_stays_closed(pool):
    session = await open_session(pool)
    lease = await pool.leases.take(session.session_id, work=BUDGET, patience=timedelta())
    await pool.sessions.close(CALLER, session.session_id)
    with pytest.raises(SessionNotFoundError):
        await pool.leases.finish(lease, lease.session)
    assert await pool.store.held("POOL") == 0


async def test_denials_are_recorded_each_address_once(pool):
    session = await open_session(pool, user_id=3, project_id=7)
    told = [denied("169.254.169.254", 80, 2), denied("x.test", 443)]
    pool.worker.script = [reply(denied=told)]
    await run(pool, session)
    records = [event for event in pool.outbox.events if event["action"] == "browser.egress"]
    told = [(r["metadata"]["host"], r["metadata"]["times"]) for r in records]
    assert told == [("169.254.169.254", 2), ("x.test", 1)]
    assert {(r["user_id"], r["metadata"]["outcome"]) for r in records} == {(3, "denied")}


def result_of(index, url):
    return {
        "index": index,
        "action": "screenshot",
        "outcome": "done",
        "artifact": {"name": "a", "media_type": "image/png", "size": 1, "url": url},
    }


async def test_only_files_of_this_command_become_links(pool):
    """A page may have taken over what answers: it names no other session's files."""
    session = await open_session(pool)
    mine = "000001-00-screenshot"
    urls = [mine, "000001-00-screenshot", "../../other/files/x"]
    results = [result_of(index, url) for index, url in enumerate(urls)]
    pool.worker.script = [reply(session_id="other", results=results)]
    answer = await run(pool, session, *[{"action": "screenshot"}] * 3)
    assert answer.result.session_id == session.session_id
    assert [one.artifact.url for one in answer.result.results] == [f"get {mine}", None, None]


async def test_use_moves_the_end_on_until_the_age_is_reached(pool):
    session = await open_session(pool)
    ends = []
    for _ in range(4):
        forward(pool, 240)
        await run(pool, session)
        found = await pool.sessions.find(CALLER, session.session_id)
        ends.append((found.due_at - session.created_at).total_seconds())
    assert ends == [540, 780, 1000, 1000]


async def test_what_nobody_uses_is_reaped_and_what_works_is_not(pool):
    idle = await open_session(pool, user_id=3)
    used = await open_session(pool, user_id=3)
    busy = await open_session(pool)
    forward(pool, 299)
    await run(pool, used)
    await pool.leases.take(busy.session_id, work=BUDGET, patience=timedelta())
    forward(pool, 1)
    with pytest.raises(SessionNotFoundError):
        await pool.sessions.find(CALLER, idle.session_id)
    assert (await pool.sessions.find(CALLER, busy.session_id)).busy_until is not None
    assert await pool.reaper.reap() == 1
    assert await pool.store.held("USER#3") == 1
    forward(pool, 25)
    assert await pool.reaper.reap() == 1
    assert await pool.reaper.reap() == 0
    assert await pool.sessions.list(CALLER) == [await pool.sessions.find(CALLER, used.session_id)]


async def test_links_are_for_one_checkpoint_and_end_soon(make_client):
    links = S3Objects("checkpoints")
    for link, key, lasts in (
        (await links.checkpoint_reading("s1", 4, timedelta(seconds=30)), "checkpoints/4", "90"),
        (await links.checkpoint_writing("s1", 5, timedelta(seconds=30)), "checkpoints/5", "90"),
        (await links.file_writing("s1", "a", timedelta(seconds=30)), "files/a", "90"),
        (await links.file_reading("s1", "a"), "files/a", "3600"),
    ):
        address = urlsplit(link)
        assert address.path == f"/sessions/s1/{key}"
        assert parse_qs(address.query)["X-Amz-Expires"] == [lasts]


def test_the_reaper_works_with_its_environment(make_client, monkeypatch):
    settings = {
        "ENVIRONMENT": "dev",
        "POWERTOOLS_SERVICE_NAME": "browser-pool-service",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "TABLE_NAME": TABLE,
        "MAX_SESSIONS": "20",
        "MAX_PROJECT_SESSIONS": "10",
        "MAX_USER_SESSIONS": "5",
        "SESSION_IDLE_SECONDS": "300",
        "SESSION_AGE_SECONDS": "3600",
        "OBJECTS_BUCKET": "objects",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    async def leave_a_session() -> None:
        table = DynamoTable(TABLE, make_client)
        await open_session(Pool(DynamoSessions(table), DynamoRecords(table), PoolClock()))
        table.close()

    asyncio.run(leave_a_session())
    get_session().create_client("s3").create_bucket(Bucket="objects")
    reap = importlib.import_module("functions.browser.entrypoints.reap")
    # Its time is now, which is long after the session's.
    assert reap.handler({}, None) == {"ended": 1}
    assert reap.handler({}, None) == {"ended": 0}
    reap._runner.close()
    # Another test that imports it gets one with an open loop.
    del sys.modules[reap.__name__]
