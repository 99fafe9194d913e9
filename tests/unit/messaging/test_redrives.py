"""A redrive sends each letter that it chose once, whatever is killed, and none for ever."""

import json
from datetime import timedelta

import pytest

from functions.messaging.adapters.schemas import EventSchemas
from functions.messaging.domain.dead_letters import DeadLetter
from functions.messaging.domain.envelopes import StoredEnvelopes
from functions.messaging.domain.events import Event
from functions.messaging.domain.letters import LetterFilter
from functions.messaging.domain.queue_errors import QueueUnavailableError
from functions.messaging.domain.redrive_worker import (
    RESERVE_SECONDS,
    RedriveWorker,
)
from functions.messaging.domain.redrives import Redrive, RedriveHeldError
from functions.messaging.domain.redrives_errors import NoConsumerError
from tests.fakes.consuming import Killed
from tests.fakes.messaging_consuming import (
    DIED_AT,
    MemoryLetters,
    MemoryRedrives,
    MemoryTasks,
    QuickLetters,
    letter,
)
from tests.fakes.messaging_events import Clock, MemoryBus, MemoryEvents, MemoryLife

pytestmark = pytest.mark.anyio

STREAM = "kanban-events"


def event(event_id: str) -> Event:
    return Event(
        event_id=event_id,
        event_type="card.moved",
        payload=json.dumps({"card_id": 1}),
        source="santaclaude.projectflow",
        tenant="project:42",
        correlation_id="c-1",
        occurred_at=DIED_AT,
        accepted_at=DIED_AT,
        fingerprint="f",
    )


class Redeliveries:
    def __init__(self):
        self.letters: list[tuple[str, str]] = []

    async def redeliver(self, letter: DeadLetter, redrive_id: str) -> None:
        self.letters.append((letter.event_id, redrive_id))


class Harness:
    def __init__(self, letters=None):
        self.clock = Clock()
        self.letters = letters or MemoryLetters()
        self.redrives = MemoryRedrives(self.clock)
        self.events = MemoryEvents()
        self.bus = MemoryBus()
        self.life = MemoryLife()
        self.tasks = MemoryTasks()
        self.redeliveries = Redeliveries()
        self.seconds = 0.0
        self.sleeps: list[float] = []
        self.process()

    def process(self):
        self.worker = RedriveWorker(
            self.redrives,
            self.letters,
            StoredEnvelopes(self.events, EventSchemas()),
            self.bus,
            self.redeliveries,
            self.life,
            self.tasks,
            self.clock,
            timer=lambda: self.seconds,
            sleep=self.sleep,
        )

    async def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.seconds += seconds

    async def die(self, *event_ids, **fields):
        for event_id in event_ids:
            self.events.events[event_id] = event(event_id)
            await self.letters.add(letter(event_id, **fields))

    async def begin(self, rate=1000, **wanted) -> str:
        now = self.clock()
        redrive = Redrive(
            redrive_id=f"redrive-{len(self.redrives.redrives)}",
            stream=STREAM,
            filter=LetterFilter(**wanted),
            rate=rate,
            requested_by="santaclaude-prod-projectflow-api",
            created_at=now,
            updated_at=now,
            fingerprint="f",
        )
        await self.redrives.create(redrive)
        return redrive.redrive_id

    async def work(self, redrive_id, remaining=lambda: 300.0):
        await self.worker.work(redrive_id, remaining)
        return self.redrives.redrives[redrive_id]

    def states(self):
        shelf = self.letters.shelved.get(STREAM, {})
        return {one.letter.event_id: one.state for one in shelf.values()}


@pytest.fixture
def harness():
    return Harness()


async def test_letters_go_to_their_consumer_alone(harness):
    await harness.die("e-1", "e-2")
    done = await harness.work(await harness.begin())
    assert sorted((e.id, e.target) for e in harness.bus.taken) == [
        ("e-1", "projectflow-search"),
        ("e-2", "projectflow-search"),
    ]
    known = {e.dataschema for e in harness.bus.taken}
    assert known == {EventSchemas().path_of(event("e-1").event_type)} != {None}
    assert (done.state, done.sent, done.failed) == ("completed", 2, 0)
    assert harness.states() == {"e-1": "redriven", "e-2": "redriven"}
    (moment,) = await harness.life.of("e-1")
    assert (moment.kind, moment.details["redrive_id"]) == ("redriven", done.redrive_id)


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ({"event_type": "card.created"}, {"e-type"}),
        ({"tenant": "user:9"}, {"e-tenant"}),
        ({"error": "ValueError"}, {"e-error"}),
        ({"consumer": "ai-cards"}, {"e-consumer"}),
        ({"older_than": DIED_AT}, {"e-old"}),
        ({"newer_than": DIED_AT + timedelta(seconds=1)}, {"e-new"}),
        ({"event_type": "card.created", "tenant": "user:9"}, set()),
    ],
)
async def test_only_what_the_filter_chooses_is_sent(harness, wanted, chosen):
    await harness.die("e-type", event_type="card.created")
    await harness.die("e-tenant", tenant="user:9")
    await harness.die("e-error", error="ValueError")
    await harness.die("e-consumer", consumer="ai-cards")
    await harness.die("e-old", died_at=DIED_AT - timedelta(seconds=1))
    await harness.die("e-new", died_at=DIED_AT + timedelta(seconds=1))
    done = await harness.work(await harness.begin(**wanted))
    assert set(harness.bus.ids) == chosen
    assert done.sent == len(chosen)


async def test_a_letter_that_was_sent_is_not_sent_by_the_next_redrive(harness):
    await harness.die("e-1")
    await harness.work(await harness.begin())
    again = await harness.work(await harness.begin())
    assert harness.bus.ids == ["e-1"]
    assert again.sent == 0


async def test_a_poison_event_comes_back_with_its_count_and_not_round_for_ever(harness):
    """It dies again as soon as it is sent, and the redrive that is under way leaves it alone."""
    await harness.die("e-1", "e-2")
    real = harness.bus.put
    deaths = 3

    async def put(envelopes):
        nonlocal deaths
        left = await real(envelopes)
        for envelope in envelopes:
            deaths += 3
            # A clock that is behind must not make it an old death.
            await harness.letters.add(
                letter(envelope.id, attempts=deaths, delivery_id=f"d-{deaths}")
            )
        return left

    harness.bus.put = put
    for redrives in range(1, 4):
        done = await harness.work(await harness.begin())
        assert done.sent == 2
        assert {one.letter.redrives for one in harness.letters.shelved[STREAM].values()} == {
            redrives
        }
        assert set(harness.states().values()) == {"dead"}
    assert len(harness.bus.taken) == 6


async def test_the_same_death_told_again_brings_no_letter_back(harness):
    await harness.die("e-1")
    await harness.work(await harness.begin())
    await harness.letters.add(letter("e-1"))
    assert harness.states() == {"e-1": "redriven"}
    # Another message that nobody tried is another death.
    await harness.letters.add(letter("e-1", delivery_id="another"))
    assert harness.states() == {"e-1": "dead"}


async def test_what_cannot_be_sent_stays_a_dead_letter(harness):
    await harness.die("e-1", "e-gone", "e-refused")
    del harness.events.events["e-gone"]
    harness.bus.refusing = {"e-refused"}
    done = await harness.work(await harness.begin())
    assert (done.sent, done.failed) == (1, 2)
    assert harness.states() == {"e-1": "redriven", "e-gone": "dead", "e-refused": "dead"}
    shelf = harness.letters.shelved[STREAM].values()
    assert {one.letter.event_id: one.letter.redrives for one in shelf} == {
        "e-1": 1,
        "e-gone": 0,
        "e-refused": 0,
    }


async def test_webhooks_are_delivered_by_their_own_way(harness):
    await harness.die("e-1", consumer="subscription:S1")
    redrive_id = await harness.begin()
    await harness.work(redrive_id)
    assert harness.redeliveries.letters == [("e-1", redrive_id)]
    assert harness.bus.taken == []


async def test_the_letters_of_a_subscription_that_is_gone_stay(harness):
    class Gone:
        async def redeliver(self, letter, redrive_id):
            raise NoConsumerError

    await harness.die("e-1", consumer="subscription:S1")
    harness.redeliveries = Gone()
    harness.process()
    done = await harness.work(await harness.begin())
    assert (done.sent, done.failed) == (0, 1)
    assert harness.states() == {"e-1": "dead"}


async def test_the_rate_is_kept(harness):
    await harness.die(*(f"e-{n:03}" for n in range(100)))
    await harness.work(await harness.begin(rate=10))
    assert len(harness.bus.taken) == 100
    assert harness.seconds == pytest.approx(10.0)
    assert len(harness.sleeps) == 10


async def test_it_goes_on_in_another_call_before_the_time_is_up(harness):
    await harness.die(*(f"e-{n:03}" for n in range(50)))
    redrive_id = await harness.begin(rate=10)
    left = [RESERVE_SECONDS + 1, RESERVE_SECONDS + 1, RESERVE_SECONDS - 1]
    half = await harness.work(redrive_id, lambda: left.pop(0))
    assert half.state == "running"
    assert half.sent == 20
    assert harness.tasks.sent == [redrive_id]
    done = await harness.work(redrive_id)
    assert (done.state, done.sent) == ("completed", 50)
    assert sorted(harness.bus.ids) == [f"e-{n:03}" for n in range(50)]


async def test_a_queue_that_takes_no_task_leaves_the_redrive_to_its_own_message(harness):
    await harness.die(*(f"e-{n:03}" for n in range(50)))
    redrive_id = await harness.begin(rate=10)
    harness.tasks.down = True
    left = [RESERVE_SECONDS + 1, RESERVE_SECONDS - 1]
    with pytest.raises(QueueUnavailableError):
        await harness.work(redrive_id, lambda: left.pop(0))
    done = await harness.work(redrive_id)
    assert (done.state, done.sent, len(harness.bus.taken)) == ("completed", 50, 50)


@pytest.mark.parametrize("killed", [False, True])
async def test_a_letter_is_told_as_redriven_before_its_consumer_can_have_attempted_it(
    harness, killed
):
    """Or its life would end with a redrive, though the event is delivered."""
    await harness.die("e-1")
    real = harness.bus.put
    put_at = []

    async def put(envelopes):
        left = await real(envelopes)
        put_at.append(harness.clock())
        return left

    harness.bus.put = put
    redrive_id = await harness.begin()
    if killed:
        harness.redrives.kills["advance"] = 0
        with pytest.raises(Killed):
            await harness.work(redrive_id)
        harness.clock.pass_seconds(121)
    await harness.work(redrive_id)
    (moment,) = await harness.life.of("e-1")
    assert moment.at < put_at[0]


async def test_two_workers_do_not_share_a_redrive(harness):
    await harness.die("e-1")
    redrive_id = await harness.begin()
    await harness.redrives.lease(redrive_id)
    with pytest.raises(RedriveHeldError):
        await harness.work(redrive_id)
    assert harness.bus.taken == []


@pytest.mark.parametrize("kills", [0, 1, 7, 24, 25, 33])
@pytest.mark.parametrize("step", ["take", "mark_redriven", "advance", "walk"])
async def test_killed_anywhere_it_goes_on_and_counts_right(harness, step, kills):
    await harness.die(*(f"e-{n:03}" for n in range(40)))
    redrive_id = await harness.begin(rate=10)
    broken = harness.redrives if step == "advance" else harness.letters
    broken.kills[step] = kills
    try:
        await harness.work(redrive_id)
    except Killed:
        assert harness.redrives.redrives[redrive_id].state == "running"
        harness.process()
        harness.clock.pass_seconds(121)
        await harness.work(redrive_id)
    done = harness.redrives.redrives[redrive_id]
    assert (done.state, done.sent, done.failed) == ("completed", 40, 0)
    assert set(harness.states().values()) == {"redriven"}
    # Nothing is lost; and only what was put on the bus and not yet marked goes twice: at most one
    # batch, which the consumer's claims make one effect of.
    assert set(harness.bus.ids) == {f"e-{n:03}" for n in range(40)}
    twice = len(harness.bus.ids) - 40
    assert twice <= (10 if step == "mark_redriven" else 0)
    assert {len(harness.life.moments[f"e-{n:03}"]) for n in range(40)} == {1}


async def test_a_cancelled_redrive_stops_and_tells_what_it_sent(harness):
    await harness.die(*(f"e-{n:03}" for n in range(30)))
    redrive_id = await harness.begin(rate=10)

    async def sleep(_seconds):
        await harness.redrives.end(redrive_id, "cancelled")

    harness.sleep = sleep
    harness.process()
    done = await harness.work(redrive_id)
    assert done.state == "cancelled"
    assert done.sent == len(harness.bus.taken) == 20
    assert list(harness.states().values()).count("dead") == 10
    await harness.work(redrive_id)
    assert len(harness.bus.taken) == 20


async def test_ten_thousand_letters_with_kills():
    letters = QuickLetters()
    harness = Harness(letters)
    wanted = {f"e-{n:05}" for n in range(10_000)}
    await harness.die(*sorted(wanted))
    letters.sort()
    redrive_id = await harness.begin()
    for step, after in (("take", 1_234), ("mark_redriven", 4_321), ("take", 2_000)):
        letters.kills[step] = after
        with pytest.raises(Killed):
            await harness.work(redrive_id)
        harness.process()
        harness.clock.pass_seconds(121)
    done = await harness.work(redrive_id)
    assert (done.state, done.sent, done.failed) == ("completed", 10_000, 0)
    assert set(harness.bus.ids) == wanted
    assert len(harness.bus.ids) - 10_000 <= 100
    assert set(harness.states().values()) == {"redriven"}
