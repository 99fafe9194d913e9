"""Sessions whose time is over go with all that belongs to them, whatever fails on the way."""

import asyncio
import itertools
import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.ai.adapters import keys
from functions.ai.bootstrap import Storage, build_upkeep, dynamodb_storage
from functions.ai.domain.models import SessionChanges, SessionFilter
from functions.ai.domain.turns import Ending, Numbered, TextEvent
from functions.ai.domain.upkeep import Upkeep, UpkeepUnfinishedError
from functions.ai.settings import UpkeepSettings
from servicekit.settings import SettingsError
from tests.fakes.ai_app import SETTINGS, AiService, chat_body
from tests.fakes.jobs import WORKER_ENVIRONMENT, MemoryQueues
from tests.fakes.memory import Memory
from tests.integration.conftest import TABLE
from tests.integration.test_storage import draft, session
from tests.integration.test_turn_storage import turn

pytestmark = pytest.mark.anyio

DAYS = 30
USED = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
LAST_DAY = USED + timedelta(days=DAYS)
OVER = datetime(2026, 12, 23, 0, 0, tzinfo=UTC)
LIVING = SETTINGS.model_copy(update={"session_days": DAYS})


class Clock:
    """Stands still."""

    def __init__(self) -> None:
        self.now = USED

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dynamodb(make_client, make_s3, clock):
    storage = dynamodb_storage(LIVING, make_client, make_s3, clock)
    yield storage
    storage.close()


def upkeep(
    storage: Storage, clock: Clock, days: int = DAYS, queues: MemoryQueues | None = None
) -> Upkeep:
    names = {field.upper() for field in UpkeepSettings.model_fields}
    environment = {n: v for n, v in WORKER_ENVIRONMENT.items() if n in names}
    settings = UpkeepSettings.from_environment({**environment, "SESSION_DAYS": str(days)})
    return build_upkeep(settings, storage, queues or MemoryQueues(), clock)


async def conversation(storage: Storage, name: str = "s1", messages: int = 3) -> str:
    """A session with an image, a turn with its events and messages; returns the image's key."""
    asked = turn(f"t-{name}", session_id=name, created_at=USED, updated_at=USED)
    begun = session(name, created_at=USED)
    question = draft(turn_id=asked.turn_id, created_at=USED)
    await storage.turns.begin(begun, [question], asked, None, new=True)
    said = Numbered(1, TextEvent("Hello"))
    await storage.turns.add_events(asked, [said])
    answer = draft(role="assistant", created_at=USED)
    await storage.turns.conclude(asked, Ending("completed", USED, 1, draft=answer))
    found = await storage.sessions.get(name)
    for _ in range(messages - 2):
        found, _ = await storage.sessions.append(
            found, draft(created_at=USED), None, only_active=True
        )
    key = f"projects/7/sessions/{name}/images/1.png"
    await storage.content.put(key, "image/png", b"x")
    return key


async def nothing_is_left(storage: Storage, name: str, key: str) -> bool:
    gone = session(name)
    messages = [m async for m in storage.sessions.messages(gone)]
    return (
        await storage.sessions.get(name, even_deleted=True) is None
        and await storage.turns.get(f"t-{name}") is None
        and not await storage.turns.events(f"t-{name}", 0)
        and await storage.content.get(key) is None
        and not messages
    )


async def test_a_session_goes_with_all_that_belongs_to_it(storage, clock):
    key = await conversation(storage)
    clock.now = LAST_DAY
    await upkeep(storage, clock).run(60)
    assert await storage.sessions.get("s1") is not None
    clock.now = OVER
    await upkeep(storage, clock).run(60)
    assert await nothing_is_left(storage, "s1", key)


async def test_nothing_of_the_table_is_left(dynamodb, clock, make_client):
    for number in range(40):
        await conversation(dynamodb, f"s{number}", messages=2)
    clock.now = OVER
    await upkeep(dynamodb, clock).run(60)
    assert make_client().scan(TableName=TABLE)["Items"] == []


async def test_what_lives_for_ever_is_not_touched(storage, clock):
    await conversation(storage)
    clock.now = OVER + timedelta(days=10_000)
    await upkeep(storage, clock, days=0).run(60)
    assert await storage.sessions.get("s1", even_deleted=True) is not None


@pytest.mark.parametrize("days", [-1, 1, 6])
async def test_a_session_outlives_every_job_of_it(storage, clock, days):
    with pytest.raises(SettingsError, match="SESSION_DAYS"):
        upkeep(storage, clock, days)


async def use_by_message(storage: Storage, at: datetime) -> None:
    found = await storage.sessions.get("s1")
    await storage.sessions.append(found, draft(created_at=at), None, only_active=True)


async def use_by_turn(storage: Storage, at: datetime) -> None:
    found = await storage.sessions.get("s1")
    asked = turn("t2", session_id="s1", created_at=at, updated_at=at)
    await storage.turns.begin(found, [draft(created_at=at)], asked, None, new=False)


async def use_by_answer(storage: Storage, at: datetime) -> None:
    found = await storage.sessions.get("s1")
    asked = turn("t2", session_id="s1", created_at=USED, updated_at=USED)
    await storage.turns.begin(found, [draft(created_at=USED)], asked, None, new=False)
    await storage.turns.conclude(asked, Ending("failed", at, 0))


async def use_by_change(storage: Storage, at: datetime) -> None:
    await storage.sessions.change("s1", SessionChanges({"context": {"a": 1}}, at))


@pytest.mark.parametrize("use", [use_by_message, use_by_turn, use_by_answer, use_by_change])
async def test_each_use_lets_it_live_on(storage, clock, use):
    await conversation(storage)
    clock.now = LAST_DAY
    await use(storage, LAST_DAY)
    clock.now = LAST_DAY + timedelta(days=DAYS)
    await upkeep(storage, clock).run(60)
    assert await storage.sessions.get("s1") is not None
    clock.now += timedelta(days=1)
    await upkeep(storage, clock).run(60)
    assert await storage.sessions.get("s1", even_deleted=True) is None


async def test_a_use_while_it_is_about_to_go_keeps_it(dynamodb, clock):
    """The index is behind: what it names is looked at once more, in the same write that hides."""
    key = await conversation(dynamodb)
    clock.now = OVER
    found = await dynamodb.sessions.get("s1", even_deleted=True)
    sweep = upkeep(dynamodb, clock)

    async def stale(day: date | None):
        await dynamodb.sessions.append(found, draft(created_at=OVER), None, only_active=True)
        yield ["s1"]

    sweep._sessions._old.unused_since = stale
    await sweep.run(60)
    assert await dynamodb.sessions.get("s1") is not None
    assert await dynamodb.content.get(key) == b"x"


async def test_one_that_is_over_is_seen_by_nobody(dynamodb, clock):
    await conversation(dynamodb)
    await conversation(dynamodb, "s2")
    clock.now = LAST_DAY
    await use_by_message(dynamodb, LAST_DAY)
    clock.now = OVER
    service = AiService(dynamodb)
    assert (await service.call("GET", "/api/v1/sessions/s1")).status_code == 200
    for method, path, body in (
        ("GET", "/api/v1/sessions/s2", None),
        ("PATCH", "/api/v1/sessions/s2", {"status": "completed"}),
        ("GET", "/api/v1/sessions/s2/messages", None),
        ("POST", "/api/v1/chat", chat_body(session_id="s2", project_id=7, user_id=3)),
    ):
        answer = await service.call(method, path, body)
        assert answer.status_code == 404, (method, path, answer.text)
        assert answer.json()["code"] == "session_not_found"
    for wanted in (SessionFilter(7, None), SessionFilter(None, 3), SessionFilter(7, 3)):
        page = await dynamodb.sessions.list_sessions(wanted, 50, None)
        assert [s.session_id for s in page.sessions] == ["s1"]
    # But whoever wants it deleted now need not wait.
    assert (await service.call("DELETE", "/api/v1/sessions/s2")).status_code == 200


async def test_a_use_writes_to_the_index_once_a_day(dynamodb, make_client):
    client = make_client()

    def place() -> Any:
        key = {n: {"S": v} for n, v in keys.session_key("s1").items()}
        item = client.get_item(TableName=TABLE, Key=key)["Item"]
        return item["gsi3pk"]["S"], item["gsi3sk"]["S"]

    await conversation(dynamodb)
    before = place()
    await use_by_message(dynamodb, USED - timedelta(hours=5))
    assert place() == before
    await use_by_message(dynamodb, USED + timedelta(hours=1))
    assert place() == (before[0], "2026-11-23#s1")


async def test_a_session_of_earlier_days_is_looked_after_from_its_next_use_on(
    dynamodb, make_client, clock
):
    await conversation(dynamodb)
    make_client().update_item(
        TableName=TABLE,
        Key={n: {"S": v} for n, v in keys.session_key("s1").items()},
        UpdateExpression="REMOVE gsi3pk, gsi3sk",
    )
    clock.now = LAST_DAY
    await use_by_message(dynamodb, LAST_DAY)
    clock.now = LAST_DAY + timedelta(days=DAYS + 1)
    await upkeep(dynamodb, clock).run(60)
    assert await dynamodb.sessions.get("s1", even_deleted=True) is None


class Killed(BaseException):
    """No error that anybody handles."""


class Dying:
    """A client whose `nth` write ends the process; what it did before stays."""

    def __init__(self, client: Any, nth: int) -> None:
        self._call = client._make_api_call
        self._left = nth
        client._make_api_call = self.call

    def call(self, operation: str, arguments: Any) -> Any:
        if operation in {"UpdateItem", "BatchWriteItem", "DeleteItem", "DeleteObjects"}:
            self._left -= 1
            if self._left == 0:
                raise Killed
        return self._call(operation, arguments)


async def test_a_run_that_is_killed_anywhere_is_gone_on_with(make_client, make_s3, clock):
    for nth in itertools.count(1):
        clock.now = USED
        healthy = dynamodb_storage(LIVING, make_client, make_s3, clock)
        key = await conversation(healthy, messages=30)
        clock.now = OVER
        died = False

        def dying(nth: int = nth) -> Any:
            client = make_client()
            Dying(client, nth)
            return client

        storage = dynamodb_storage(LIVING, dying, make_s3, clock)
        try:
            await upkeep(storage, clock).run(60)
        except Killed:
            died = True
        storage.close()
        # Whatever was done of it, nobody sees it, and the next run finds it.
        assert await healthy.sessions.get("s1") is None
        await upkeep(healthy, clock).run(60)
        assert await nothing_is_left(healthy, "s1", key)
        assert make_client().scan(TableName=TABLE)["Items"] == []
        healthy.close()
        if not died:
            assert nth > 5
            return


async def test_a_deletion_that_failed_is_ended_though_sessions_live_for_ever(storage, clock):
    key = await conversation(storage)
    await storage.sessions.hide("s1")
    await upkeep(storage, clock, days=0).run(60)
    assert await nothing_is_left(storage, "s1", key)


async def test_two_runs_at_a_time_do_no_harm(dynamodb, clock):
    names = [f"s{n}" for n in range(10)]
    image_keys = [await conversation(dynamodb, name, messages=2) for name in names]
    clock.now = OVER
    await asyncio.gather(*(upkeep(dynamodb, clock).run(60) for _ in range(3)))
    for name, key in zip(names, image_keys, strict=True):
        assert await nothing_is_left(dynamodb, name, key)


async def test_one_that_cannot_be_removed_stands_in_no_others_way(dynamodb, clock, caplog):
    caplog.set_level(logging.INFO)
    image_keys = {n: await conversation(dynamodb, n, messages=2) for n in ("s1", "s2", "s3")}
    delete = dynamodb.content.delete_prefix

    async def failing(prefix: str) -> None:
        if "/s2/" in prefix:
            from servicekit.errors import StoreUnavailableError

            raise StoreUnavailableError
        await delete(prefix)

    clock.now = OVER
    dynamodb.content.delete_prefix = failing
    with pytest.raises(UpkeepUnfinishedError):
        await upkeep(dynamodb, clock).run(60)
    for name in ("s1", "s3"):
        assert await nothing_is_left(dynamodb, name, image_keys[name])
    assert await dynamodb.sessions.get("s2", even_deleted=True) is not None
    told = {(r.getMessage(), r.session_id) for r in caplog.records if hasattr(r, "session_id")}
    assert told == {
        ("session removed", "s1"),
        ("session not removed", "s2"),
        ("session removed", "s3"),
    }
    dynamodb.content.delete_prefix = delete
    await upkeep(dynamodb, clock).run(60)
    assert await nothing_is_left(dynamodb, "s2", image_keys["s2"])


async def test_a_store_that_does_not_answer_fails_the_run(clock):
    memory = Memory()
    memory.sessions.failure = ClientError({"Error": {"Code": "x"}}, "Query")
    with pytest.raises(ClientError):
        await upkeep(memory.storage(), clock).run(60)


async def test_after_its_time_a_run_begins_no_other_page(dynamodb, clock):
    for number in range(30):
        await conversation(dynamodb, f"s{number}", messages=2)
    clock.now = OVER
    left = [30]
    for _ in range(30):
        await upkeep(dynamodb, clock).run(0)
        there = [
            n
            for n in range(30)
            if await dynamodb.sessions.get(f"s{n}", even_deleted=True) is not None
        ]
        left.append(len(there))
        if not there:
            break
    assert 0 < left[1] < 30
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
