"""Dead letters, redrives, replays and consumers in DynamoDB; queues and archive by their APIs."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import get_session

from functions.messaging.adapters.dynamodb_consumers import NOTED_EVERY, DynamoConsumers
from functions.messaging.adapters.dynamodb_events import DynamoEvents
from functions.messaging.adapters.dynamodb_letters import DynamoLetters
from functions.messaging.adapters.dynamodb_life import DynamoLife
from functions.messaging.adapters.dynamodb_redrives import LEASE, DynamoRedrives
from functions.messaging.adapters.dynamodb_replays import DynamoReplays
from functions.messaging.adapters.eventbridge_archive import EventBridgeArchive
from functions.messaging.adapters.queue_figures import QueueFigures
from functions.messaging.adapters.schemas import EventSchemas
from functions.messaging.adapters.sqs_tasks import SqsTasks
from functions.messaging.domain.deliveries import KnownConsumer
from functions.messaging.domain.envelopes import StoredEnvelopes
from functions.messaging.domain.figures import Depth
from functions.messaging.domain.figures_errors import FiguresUnavailableError
from functions.messaging.domain.letters import LetterFilter
from functions.messaging.domain.queue_errors import QueueUnavailableError
from functions.messaging.domain.redrive_worker import RedriveWorker
from functions.messaging.domain.redrives import Redrive, RedriveHeldError, advanced
from functions.messaging.domain.replays import Replay
from functions.messaging.domain.replays_errors import ArchiveUnavailableError
from servicekit.paging import InvalidCursorError
from tests.fakes.messaging_consuming import DIED_AT, MemoryTasks, letter
from tests.fakes.messaging_events import Clock, MemoryBus
from tests.unit.messaging.test_redrives import event

pytestmark = pytest.mark.anyio

STREAM = "kanban-events"
ALL = LetterFilter()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def letters(table, clock):
    return DynamoLetters(table, clock, 30)


@pytest.fixture
def redrives(table, clock):
    return DynamoRedrives(table, clock, 30)


async def ids(letters, wanted=ALL, limit=100):
    found, cursor = [], None
    while True:
        page = await letters.page(STREAM, wanted, limit, cursor)
        found += [one.letter.event_id for one in page.letters]
        cursor = page.next_cursor
        if cursor is None:
            return found


def redrive(**fields: Any) -> Redrive:
    return Redrive(
        **{
            "redrive_id": "r-1",
            "stream": STREAM,
            "filter": LetterFilter(tenant="project:42", older_than=DIED_AT + timedelta(days=1)),
            "rate": 100,
            "requested_by": "operator",
            "created_at": DIED_AT + timedelta(hours=1),
            "updated_at": DIED_AT + timedelta(hours=1),
            "fingerprint": "f",
            **fields,
        }
    )


async def test_letters_come_newest_first_by_pages_and_filters(letters):
    for n in range(9):
        await letters.add(
            letter(
                f"e-{n}",
                died_at=DIED_AT + timedelta(minutes=n),
                tenant="user:9" if n % 3 else "project:42",
            )
        )
    assert await ids(letters, limit=2) == [f"e-{n}" for n in range(8, -1, -1)]
    assert await ids(letters, LetterFilter(tenant="project:42"), limit=1) == ["e-6", "e-3", "e-0"]
    minute = timedelta(minutes=1)
    for wanted, expected in (
        (LetterFilter(older_than=DIED_AT + 2 * minute), {"e-0", "e-1"}),
        (LetterFilter(newer_than=DIED_AT + 7 * minute), {"e-7", "e-8"}),
        (
            LetterFilter(newer_than=DIED_AT + 3 * minute, older_than=DIED_AT + 5 * minute),
            {"e-3", "e-4"},
        ),
        (LetterFilter(newer_than=DIED_AT + 5 * minute, older_than=DIED_AT), set()),
        (LetterFilter(error="other"), set()),
        (LetterFilter(event_type="card.moved", consumer="projectflow-search"), None),
    ):
        assert set(await ids(letters, wanted)) == (
            {f"e-{n}" for n in range(9)} if expected is None else expected
        )
    assert await letters.count(STREAM) == 9
    assert await letters.count("user-events") == 0


async def test_a_cursor_is_of_its_query(letters):
    for n in range(3):
        await letters.add(letter(f"e-{n}"))
    page = await letters.page(STREAM, ALL, 1, None)
    with pytest.raises(InvalidCursorError):
        await letters.page(STREAM, LetterFilter(tenant="user:9"), 1, page.next_cursor)


async def test_a_later_death_takes_the_place_of_the_earlier(letters):
    await letters.add(letter())
    await letters.add(letter(attempts=6, error="timeout", died_at=DIED_AT + timedelta(hours=1)))
    (found,) = await letters.walk(STREAM, "", 10)
    assert (found.letter.attempts, found.letter.error) == (6, "timeout")
    assert found.first_died_at == DIED_AT
    assert await letters.count(STREAM) == 1


async def test_taken_sent_and_dead_again(letters):
    await letters.add(letter())
    (found,) = await letters.walk(STREAM, "", 10)
    taken = await asyncio.gather(*(letters.take(found, f"r-{n}") for n in range(8)))
    assert taken.count(True) == 1
    mine = f"r-{taken.index(True)}"
    assert await letters.count(STREAM) == 0
    (sending,) = await letters.walk(STREAM, "", 10)
    assert (sending.state, sending.redrive_id, sending.letter.redrives) == ("sending", mine, 1)
    await letters.mark_redriven([sending], "another")
    assert (await letters.walk(STREAM, "", 10))[0].state == "sending"
    await letters.mark_redriven([sending], mine)
    assert (await letters.walk(STREAM, "", 10))[0].state == "redriven"
    # The same death, told late.
    await letters.add(letter())
    assert await letters.count(STREAM) == 0
    await letters.add(letter(attempts=6, delivery_id="d-2", died_at=DIED_AT + timedelta(hours=2)))
    (again,) = await letters.walk(STREAM, "", 10)
    assert (again.state, again.letter.redrives, again.letter.attempts) == ("dead", 1, 6)
    assert await letters.count(STREAM) == 1
    assert not await letters.take(found, "r-9")


async def test_put_back_it_is_as_before(letters):
    await letters.add(letter())
    (before,) = await letters.walk(STREAM, "", 10)
    assert await letters.take(before, "r-1")
    await letters.put_back([before], "r-1")
    assert await letters.walk(STREAM, "", 10) == [before]
    assert await ids(letters) == ["e-1"]


async def test_a_redrive_is_kept_as_it_was_asked_for(redrives):
    made = redrive()
    assert await redrives.create(made) is None
    assert await redrives.get("r-1") == made
    assert await redrives.create(redrive(rate=7)) == made
    assert await redrives.get("r-2") is None
    for n in range(3):
        await redrives.create(
            redrive(redrive_id=f"q-{n}", created_at=DIED_AT + timedelta(hours=2 + n))
        )
    page = await redrives.of_stream(STREAM, 3, None)
    assert [one.redrive_id for one in page.redrives] == ["q-2", "q-1", "q-0"]
    rest = await redrives.of_stream(STREAM, 3, page.next_cursor)
    assert [one.redrive_id for one in rest.redrives] == ["r-1"]
    assert (await redrives.of_stream("user-events", 3, None)).redrives == []


async def test_one_works_on_a_redrive_until_its_lease_is_over(redrives, clock):
    await redrives.create(redrive())
    leased = await redrives.lease("r-1")
    with pytest.raises(RedriveHeldError):
        await redrives.lease("r-1")
    further = advanced(leased.redrive, cursor="e-1#c", sent=3, failed=1, at=clock())
    assert await redrives.advance(leased, further, done=False)
    clock.pass_seconds(LEASE.total_seconds() + 2)
    other = await redrives.lease("r-1")
    assert (other.redrive.cursor, other.redrive.sent, other.redrive.failed) == ("e-1#c", 3, 1)
    assert not await redrives.advance(leased, further, done=False)
    await redrives.release(leased)
    with pytest.raises(RedriveHeldError):
        await redrives.lease("r-1")
    assert await redrives.advance(other, other.redrive, done=True)
    done = await redrives.get("r-1")
    assert done.state == "completed"
    assert done.finished_at is not None
    assert await redrives.lease("r-1") is None
    assert await redrives.lease("r-none") is None
    assert await redrives.end("r-1", "cancelled") is None


async def test_a_cancelled_redrive_counts_what_it_sent_and_stops(redrives, clock):
    await redrives.create(redrive())
    leased = await redrives.lease("r-1")
    assert (await redrives.end("r-1", "cancelled")).state == "cancelled"
    further = advanced(leased.redrive, cursor="k", sent=5, failed=0, at=clock())
    assert not await redrives.advance(leased, further, done=False)
    found = await redrives.get("r-1")
    assert (found.state, found.sent) == ("cancelled", 5)


async def test_a_redrive_of_several_hundred_through_the_real_table(table, letters, redrives, clock):
    """Killed in the middle of a batch, it sends the rest and counts all."""

    class Died(BaseException):
        pass

    count = 250
    events = DynamoEvents(table, 30)
    envelopes = StoredEnvelopes(events, EventSchemas())
    wanted = {f"e-{n:03}" for n in range(count)}
    for event_id in sorted(wanted):
        await events.accept(event(event_id))
        await letters.add(letter(event_id))
    bus = MemoryBus()
    life = DynamoLife(table, clock, 30)

    def worker(shelf):
        return RedriveWorker(redrives, shelf, envelopes, bus, None, life, MemoryTasks(), clock)

    class Dying(DynamoLetters):
        batches = 0

        async def mark_redriven(self, letters, redrive_id):
            self.batches += 1
            if self.batches == 2:
                await super().mark_redriven(letters[:3], redrive_id)
                raise Died
            await super().mark_redriven(letters, redrive_id)

    await redrives.create(redrive(filter=ALL, created_at=clock(), rate=1000))
    with pytest.raises(Died):
        await worker(Dying(table, clock, 30)).work("r-1", lambda: 300.0)
    clock.pass_seconds(LEASE.total_seconds() + 2)
    await worker(letters).work("r-1", lambda: 300.0)
    done = await redrives.get("r-1")
    assert (done.state, done.sent, done.failed) == ("completed", count, 0)
    assert set(bus.ids) == wanted
    assert len(bus.ids) == count + 97
    assert await letters.count(STREAM) == 0
    for event_id in ("e-000", "e-101", "e-199", "e-249"):
        assert [moment.kind for moment in await life.of(event_id)] == ["redriven"]


async def test_replays_are_kept(table, clock):
    replays = DynamoReplays(table, clock, 30)

    def replay(replay_id, **fields):
        return Replay(
            **{
                "replay_id": replay_id,
                "stream": STREAM,
                "types": ["card.moved"],
                "start": DIED_AT,
                "end": DIED_AT + timedelta(hours=1),
                "requested_by": "operator",
                "created_at": DIED_AT,
                "fingerprint": "f",
                **fields,
            }
        )

    first = replay("replay-1")
    assert await replays.create(first) is None
    assert await replays.create(replay("replay-1", types=None)) == first
    assert await replays.get("replay-1") == first
    later = replay("replay-2", types=None, created_at=DIED_AT + timedelta(hours=1))
    await replays.create(later)
    page = await replays.page(1, None)
    assert page.replays == [later]
    assert (await replays.page(1, page.next_cursor)).replays == [first]
    await replays.store(replay("replay-1", state="completed", finished_at=DIED_AT))
    await replays.store(replay("replay-1", state="running"))
    assert (await replays.get("replay-1")).state == "completed"


async def test_consumers_are_noted_once_in_an_hour(table):
    consumers = DynamoConsumers(table, 30)
    at = DIED_AT
    await consumers.seen([KnownConsumer(STREAM, "ai-cards", at)])
    await consumers.seen([KnownConsumer(STREAM, "ai-cards", at + NOTED_EVERY / 2)])
    assert await consumers.all() == [KnownConsumer(STREAM, "ai-cards", at)]
    await consumers.seen([KnownConsumer(STREAM, "ai-cards", at + NOTED_EVERY)])
    assert await consumers.all() == [KnownConsumer(STREAM, "ai-cards", at + NOTED_EVERY)]


class Stub:
    """A client whose calls are answered by `answers`, and kept."""

    def __init__(self, **answers):
        self.answers = answers
        self.calls = []

    def __getattr__(self, name):
        def call(**arguments):
            self.calls.append((name, arguments))
            answer = self.answers[name]
            if isinstance(answer, str):
                raise ClientError({"Error": {"Code": answer}}, name)
            return answer

        return call


BUS = "arn:aws:events:eu-west-1:1:event-bus/santaclaude-dev"
ARCHIVE = "arn:aws:events:eu-west-1:1:archive/santaclaude-dev-messaging"


def archive(**answers):
    stub = Stub(**answers)
    return stub, EventBridgeArchive(ARCHIVE, BUS, "santaclaude-dev-messaging-", lambda: stub)


REPLAY = Replay(
    replay_id="replay-1",
    stream=STREAM,
    types=None,
    start=DIED_AT,
    end=DIED_AT + timedelta(hours=1),
    requested_by="operator",
    created_at=DIED_AT,
    fingerprint="f",
)


async def test_a_replay_goes_to_its_streams_rule_alone():
    stub, adapter = archive(start_replay={})
    await adapter.start(REPLAY)
    ((_, arguments),) = stub.calls
    assert arguments["ReplayName"] == "replay-1"
    assert arguments["EventSourceArn"] == ARCHIVE
    assert arguments["Destination"] == {
        "Arn": BUS,
        "FilterArns": [
            "arn:aws:events:eu-west-1:1:rule/santaclaude-dev/santaclaude-dev-messaging-kanban-events"
        ],
    }


async def test_what_has_begun_begins_once_and_what_has_ended_ends_once():
    _, adapter = archive(
        start_replay="ResourceAlreadyExistsException",
        cancel_replay="IllegalStatusException",
        describe_replay="ResourceNotFoundException",
    )
    await adapter.start(REPLAY)
    await adapter.cancel("replay-1")
    assert await adapter.progress("replay-1") is None


@pytest.mark.parametrize("code", ["LimitExceededException", "AccessDeniedException"])
async def test_an_archive_that_refuses_is_unavailable(code):
    _, adapter = archive(start_replay=code, cancel_replay=code, describe_replay=code)
    for call in (
        adapter.start(REPLAY),
        adapter.cancel("replay-1"),
        adapter.progress("replay-1"),
    ):
        with pytest.raises(ArchiveUnavailableError):
            await call


async def test_progress_is_told_in_utc():
    at = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
    _, adapter = archive(describe_replay={"State": "RUNNING", "EventLastReplayedTime": at})
    progress = await adapter.progress("replay-1")
    assert (progress.state, progress.replayed_until, progress.finished_at) == ("running", at, None)


PREFIX = "santaclaude-dev-messaging-"


@pytest.fixture
def sqs(make_client):
    def make():
        config = Config(retries={"mode": "standard", "total_max_attempts": 1})
        return get_session().create_client("sqs", config=config)

    return make


async def test_figures_are_those_of_the_queues(sqs, clock):
    client = sqs()
    url = client.create_queue(QueueName=f"{PREFIX}{STREAM}")["QueueUrl"]
    client.create_queue(QueueName=f"{PREFIX}user-events")
    for n in range(5):
        client.send_message(QueueUrl=url, MessageBody=str(n), DelaySeconds=60 if n == 4 else 0)
    client.receive_message(QueueUrl=url, MaxNumberOfMessages=1, VisibilityTimeout=60)
    metrics = Stub(
        get_metric_data={
            "MetricDataResults": [
                {"Id": "q0", "Values": [41.6, 3.0]},
                {"Id": "q1", "Values": []},
            ]
        }
    )
    figures = QueueFigures(url, PREFIX, clock, sqs, lambda: metrics)
    assert await figures.depth(STREAM) == Depth(waiting=3, in_flight=1, delayed=1)
    assert await figures.depth("user-events") == Depth(0, 0, 0)
    # Nothing is told of a queue that CloudWatch knows nothing of.
    assert await figures.ages([STREAM, "user-events"]) == {STREAM: 42}
    with pytest.raises(FiguresUnavailableError):
        await figures.depth("no-such-stream")


async def test_tasks_carry_ids_alone(sqs):
    client = sqs()
    url = client.create_queue(QueueName="tasks")["QueueUrl"]
    await SqsTasks(url, sqs).redrive("r-1")
    (found,) = client.receive_message(QueueUrl=url)["Messages"]
    assert json.loads(found["Body"]) == {"redrive_id": "r-1"}
    with pytest.raises(QueueUnavailableError):
        await SqsTasks(f"{url}-none", sqs).redrive("r-1")
