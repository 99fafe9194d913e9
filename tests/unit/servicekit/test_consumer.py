"""Events from a queue have one effect each, whatever dies, fails or comes twice."""

import asyncio
import logging
from datetime import timedelta

import pytest

from servicekit.consumer import (
    FIRST_BACKOFF_SECONDS,
    MAX_BACKOFF_SECONDS,
    MAX_RECEIVES,
    NEVER_HANDLED,
    EventConsumer,
    _pause,
)
from servicekit.consumption import INTERRUPTED, MAX_REPORTS
from servicekit.errors import AppError
from tests.fakes.consuming import (
    CONSUMER,
    LEASE,
    QUEUE,
    Killed,
    MemoryClaims,
    MemoryReporter,
    MemoryVisibility,
    again,
    dead,
    detail,
    message,
)
from tests.fakes.messaging_events import Clock

pytestmark = pytest.mark.anyio


class SearchDownError(AppError):
    code = "search_unavailable"


class Harness:
    """A consumer whose handler counts its effects by event."""

    def __init__(self):
        self.clock = Clock()
        self.claims = MemoryClaims(self.clock)
        self.visibility = MemoryVisibility()
        self.reporter = MemoryReporter()
        self.effects = []
        self.error = None
        self.replays = None
        self.process()

    def process(self):
        """A new process over the same table and queue."""
        self.consumer = EventConsumer(
            {QUEUE: CONSUMER},
            claims=self.claims,
            visibility=self.visibility,
            reporter=self.reporter,
            handle=self.handle,
            replays=self.replays,
            clock=self.clock,
            pause=lambda receives: 100.0 + receives,
        )

    async def handle(self, handling):
        if self.error:
            raise self.error
        self.effects.append(handling.event.event_id)

    async def get(self, *records):
        """Ids of the messages that come again."""
        answer = await self.consumer.consume({"Records": list(records)})
        return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


@pytest.fixture
def harness():
    return Harness()


async def test_an_event_is_handled_done_and_reported(harness):
    assert await harness.get(message()) == []
    assert harness.effects == ["e-1"]
    assert harness.reporter.told == [("e-1", 1, "done", None)]
    (report,) = harness.reporter.calls[0]
    assert (report.consumer, report.event.tenant) == (CONSUMER, "project:7")


async def test_a_batch_is_reported_in_one_call(harness):
    records = [message(detail(f"e-{n}")) for n in range(10)]
    assert await harness.get(*records) == []
    assert [len(call) for call in harness.reporter.calls] == [10]


async def test_an_event_for_another_consumer_is_let_go(harness):
    assert await harness.get(message(detail(target="projectflow-search"))) == []
    assert (harness.effects, harness.reporter.calls, harness.claims.items) == ([], [], {})


async def test_an_event_that_is_sent_again_to_this_one_is_handled(harness):
    assert await harness.get(message(detail(target=CONSUMER))) == []
    assert harness.effects == ["e-1"]


async def test_replayed_events_are_let_go_unless_asked_for(harness):
    record = message(replay="replay-1")
    assert await harness.get(record) == []
    assert harness.effects == []

    class Wanted:
        async def wants(self, event, consumer):
            return event.replay_id == "replay-1" and consumer == CONSUMER

    harness.replays = Wanted()
    harness.process()
    assert await harness.get(record, message(replay="replay-2")) == []
    assert harness.effects == ["e-1"]


async def test_a_replay_is_another_event_and_a_second_copy_of_it_is_not(harness):
    class All:
        async def wants(self, event, consumer):
            return True

    harness.replays = All()
    harness.process()
    for record in (message(), message(replay="r-1"), message(replay="r-1"), message()):
        assert await harness.get(record) == []
    assert harness.effects == ["e-1", "e-1"]


async def test_a_failure_comes_back_later_and_counts(harness):
    record = message()
    harness.error = SearchDownError()
    assert await harness.get(record) == [record["messageId"]]
    assert harness.visibility.hidden == {record["messageId"]: 101}
    assert await harness.get(again(record)) == [record["messageId"]]
    assert harness.visibility.hidden == {record["messageId"]: 102}
    harness.error = None
    assert await harness.get(again(again(record))) == []
    assert harness.effects == ["e-1"]
    assert harness.reporter.distinct == {
        ("e-1", 1, "failed"),
        ("e-1", 2, "failed"),
        ("e-1", 3, "done"),
    }
    assert ("e-1", 1, "failed", "search_unavailable") in harness.reporter.told


async def test_of_other_exceptions_the_name_is_told_and_nothing_that_they_say(harness, caplog):
    harness.error = RuntimeError("a person's words")
    with caplog.at_level(logging.INFO):
        await harness.get(message())
    assert harness.reporter.told == [("e-1", 1, "failed", "RuntimeError")]
    assert all("person's" not in record.getMessage() for record in caplog.records)


async def test_one_of_a_batch_fails_alone(harness):
    bad = message(detail("e-bad"))
    good = [message(detail(f"e-{n}")) for n in range(5)]

    async def handle(handling):
        if handling.event.event_id == "e-bad":
            raise SearchDownError
        harness.effects.append(handling.event.event_id)

    harness.handle = handle
    harness.process()
    assert await harness.get(*good[:2], bad, *good[2:]) == [bad["messageId"]]
    assert sorted(harness.effects) == [f"e-{n}" for n in range(5)]
    assert set(harness.visibility.hidden) == {bad["messageId"]}


async def test_a_duplicate_of_a_done_event_is_let_go_without_the_handler(harness):
    await harness.get(message())
    assert await harness.get(message()) == []
    assert harness.effects == ["e-1"]
    assert harness.reporter.told[-1] == ("e-1", 1, "duplicate", None)


async def test_duplicates_at_the_same_time_have_one_effect(harness):
    started = asyncio.Event()

    async def handle(handling):
        started.set()
        await asyncio.sleep(0)
        harness.effects.append(handling.event.event_id)

    harness.handle = handle
    harness.process()
    records = [message() for _ in range(10)]
    left = await harness.get(*records)
    assert harness.effects == ["e-1"]
    assert len(left) == 9
    # They come when the claim that is in their way is over at the latest.
    for message_id in left:
        assert 1 <= harness.visibility.hidden[message_id] <= LEASE.total_seconds() + 6
    waiting = [again(record) for record in records if record["messageId"] in left]
    assert await harness.get(*waiting) == []
    assert harness.effects == ["e-1"]


@pytest.mark.parametrize(
    ("step", "effects"),
    [
        ("take", 1),
        ("take done", 1),
        # Between the handler and the claim's end only a handler's own transaction has one effect.
        ("finish", 2),
        ("finish done", 1),
    ],
)
async def test_a_process_that_is_killed_loses_nothing(harness, step, effects):
    record = message()
    harness.claims.kills.add(step)
    with pytest.raises(Killed):
        await harness.get(record)
    harness.process()
    # The queue hides a message for longer than a claim holds.
    harness.clock.pass_seconds(LEASE.total_seconds() + 30)
    assert await harness.get(again(record)) == []
    assert harness.effects == ["e-1"] * effects
    assert harness.reporter.told[-1][2] == "done"


async def test_an_attempt_whose_process_was_killed_is_told_by_the_next(harness):
    record = message()
    harness.claims.kills.add("take done")
    with pytest.raises(Killed):
        await harness.get(record)
    harness.clock.pass_seconds(LEASE.total_seconds() + 30)
    await harness.get(again(record))
    assert harness.reporter.told == [
        ("e-1", 1, "failed", INTERRUPTED),
        ("e-1", 2, "done", None),
    ]


async def test_killed_between_done_and_report_the_attempt_is_reported_again(harness):
    record = message()
    harness.reporter.kills = True
    with pytest.raises(Killed):
        await harness.get(record)
    assert harness.reporter.told == []
    harness.process()
    assert await harness.get(again(record)) == []
    assert harness.effects == ["e-1"]
    assert harness.reporter.told == [("e-1", 1, "done", None)]


async def test_a_report_that_fails_brings_the_message_again_and_not_the_handler(harness):
    record = message()
    harness.reporter.down = True
    assert await harness.get(record) == [record["messageId"]]
    harness.reporter.down = False
    assert await harness.get(again(record)) == []
    assert harness.effects == ["e-1"]
    assert harness.reporter.told == [("e-1", 1, "done", None)]


async def test_at_the_last_receive_a_done_event_is_let_go_unreported_and_says_so(harness, caplog):
    record = message()
    harness.reporter.down = True
    for _ in range(MAX_RECEIVES - 1):
        assert await harness.get(record) == [record["messageId"]]
        record = again(record)
    with caplog.at_level(logging.ERROR):
        assert await harness.get(record) == []
    (line,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert line.event_ids == ["e-1"]


async def test_at_the_last_receive_a_failed_event_becomes_a_dead_letter_though_unreported(harness):
    record = message(receives=MAX_RECEIVES)
    harness.error = SearchDownError()
    harness.reporter.down = True
    assert await harness.get(record) == [record["messageId"]]


async def test_what_was_let_go_unreported_did_not_stop_others(harness):
    records = [message(detail("e-1")), message(detail("e-2"), receives=MAX_RECEIVES)]
    harness.reporter.down = True
    assert await harness.get(*records) == [records[0]["messageId"]]


@pytest.mark.parametrize("step", ["take", "finish"])
async def test_a_throttled_table_brings_the_message_again(harness, step):
    record = message()
    harness.claims.fails.add(step)
    assert await harness.get(record) == [record["messageId"]]
    assert harness.reporter.told == []
    harness.claims.fails.clear()
    harness.clock.pass_seconds(LEASE.total_seconds() + 30)
    assert await harness.get(again(record)) == []
    assert harness.reporter.told[-1][2] == "done"


async def test_a_dead_letter_is_told_with_its_last_error(harness):
    record = message()
    harness.error = SearchDownError()
    for _ in range(MAX_RECEIVES):
        await harness.get(record)
        record = again(record)
    harness.reporter.calls.clear()
    assert await harness.get(dead(record)) == []
    assert harness.reporter.told[-1] == ("e-1", 3, "dead", "search_unavailable")
    assert [told[1] for told in harness.reporter.told] == [1, 2, 3, 3]


async def test_a_dead_letter_stays_until_it_is_told(harness):
    record = dead(message())
    harness.reporter.down = True
    for _ in range(20):
        assert await harness.get(record) == [record["messageId"]]
        record = again(record)
    harness.reporter.down = False
    assert await harness.get(record) == []
    assert harness.reporter.told == [("e-1", 0, "dead", NEVER_HANDLED)]


async def test_a_dead_letter_whose_event_is_done_is_none(harness):
    await harness.get(message())
    harness.reporter.calls.clear()
    assert await harness.get(dead(message())) == []
    assert {outcome for _, _, outcome, _ in harness.reporter.told} == {"done"}


async def test_a_dead_letter_whose_event_is_worked_on_waits(harness):
    harness.claims.kills.add("take done")
    with pytest.raises(Killed):
        await harness.get(message())
    record = dead(message())
    assert await harness.get(record) == [record["messageId"]]
    assert harness.visibility.hidden[record["messageId"]] >= LEASE.total_seconds() - 1
    harness.clock.pass_seconds(LEASE.total_seconds() + 1)
    assert await harness.get(again(record)) == []
    assert harness.reporter.told[-1] == ("e-1", 1, "dead", INTERRUPTED)


async def test_attempts_count_on_after_a_redrive(harness):
    harness.error = SearchDownError()
    for receives in range(1, 4):
        await harness.get(message(receives=receives))
    harness.error = None
    assert await harness.get(message(detail(target=CONSUMER))) == []
    assert harness.reporter.told[-1] == ("e-1", 4, "done", None)


@pytest.mark.parametrize(
    "body", ["", "no json", "[]", "null", '"text"', "{}", '{"detail": "text"}', "[" * 100_000]
)
async def test_a_message_that_is_no_event_is_a_dead_letter_with_a_code(harness, body):
    record = message(body=body)
    for _ in range(MAX_RECEIVES):
        assert await harness.get(record) == [record["messageId"]]
        record = again(record)
    assert await harness.get(dead(record)) == []
    event_id, attempts, outcome, error = harness.reporter.told[-1]
    assert (attempts, outcome, error) == (3, "dead", "not_an_event")
    assert event_id == f"message-{record['messageId']}"
    assert harness.effects == []


@pytest.mark.parametrize("event_id", [None, 7, "", "a#b", "a/b", "x" * 129, "é"])
async def test_an_event_without_a_usable_id_goes_by_the_buss_own(harness, event_id):
    content = detail()
    content["id"] = event_id
    await harness.get(message(content))
    (told,) = harness.reporter.told
    assert told[0].startswith("bus-")
    assert told[1:] == (1, "failed", "not_an_event")


async def test_a_message_that_cannot_be_hidden_comes_at_the_queues_own_time(harness):
    record = message()
    harness.error = SearchDownError()
    harness.visibility.down = True
    assert await harness.get(record) == [record["messageId"]]


async def test_more_attempts_than_a_call_takes_are_told_in_several(harness):
    records = [message(detail(f"e-{n}")) for n in range(120)]
    await harness.get(*records)
    assert [len(call) for call in harness.reporter.calls] == [MAX_REPORTS, 20]


def test_the_pause_doubles_is_bounded_and_is_chance():
    for receives in range(1, 30):
        bound = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (receives - 1))
        found = {_pause(receives) for _ in range(20)}
        assert len(found) > 1
        assert all(0 <= one <= bound for one in found)


async def test_a_clock_that_is_behind_by_less_than_the_margin_takes_nothing_over(harness):
    harness.claims.kills.add("take done")
    with pytest.raises(Killed):
        await harness.get(message())
    harness.clock.now += timedelta(seconds=LEASE.total_seconds() - 60)
    record = message()
    assert await harness.get(record) == [record["messageId"]]
    assert harness.effects == []
