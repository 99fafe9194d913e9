"""From the outbox to the sink, which fails in every way it can."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from servicekit.audit_outbox import OutboxItem
from servicekit.audit_sender import (
    LATER,
    LEFT_BEHIND_AFTER,
    MAX_EVENTS,
    STORED,
    AuditSender,
    NotDeliveredError,
    SinkRefusedError,
    SinkUnavailableError,
    Verdict,
)

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OLD = NOW - timedelta(hours=1)
PRODUCERS = ["ai:00", "ai:01"]


def item(sequence: int, producer: str = "ai:00", recorded_at: datetime = OLD) -> OutboxItem:
    event = {"event_id": f"{producer}-{sequence}", "producer": producer, "sequence": sequence}
    return OutboxItem(producer, sequence, event, recorded_at)


class MemoryOutboxReader:
    """`audit_sender.OutboxReader`; `crash` ends the process instead of removing."""

    def __init__(self, *items: OutboxItem) -> None:
        self.producers = PRODUCERS
        self.items = {(i.producer, i.sequence): i for i in items}
        self.crash = False

    async def after(self, producer, sequence, limit):
        found = sorted(key for key in self.items if key[0] == producer and key[1] > sequence)
        return [self.items[key] for key in found[:limit]]

    async def remove(self, items):
        if self.crash:
            self.crash = False
            raise ConnectionError
        for gone in items:
            self.items.pop((gone.producer, gone.sequence), None)

    async def refuse(self, item, code):
        key = (item.producer, item.sequence)
        if key in self.items:
            self.items[key] = replace(self.items[key], refused=code)


class MemorySink:
    """`audit_sender.Sink`, idempotent by event id as the real one is."""

    def __init__(self) -> None:
        self.events: dict[str, dict] = {}
        self.calls = 0
        self.down = False
        self.fates: dict[str, Verdict] = {}
        self.poison: set[str] = set()

    async def send(self, events):
        self.calls += 1
        assert len(events) <= MAX_EVENTS
        if self.down:
            raise SinkUnavailableError
        if self.poison & {event["event_id"] for event in events}:
            raise SinkRefusedError("invalid_request")
        verdicts = [self.fates.get(event["event_id"], STORED) for event in events]
        for event, verdict in zip(events, verdicts, strict=True):
            if verdict is STORED:
                assert self.events.setdefault(event["event_id"], event) == event
        return verdicts


class Figures:
    def __init__(self) -> None:
        self.last: dict[str, float] = {}

    async def put(self, values):
        self.last = dict(values)


class World:
    def __init__(self, *items: OutboxItem) -> None:
        self.outbox = MemoryOutboxReader(*items)
        self.sink = MemorySink()
        self.figures = Figures()
        self.time = 0.0
        self.sender = AuditSender(
            self.outbox, self.sink, self.figures, lambda: NOW, lambda: self.time
        )

    @property
    def waiting(self) -> set[int]:
        return {sequence for _, sequence in self.outbox.items}

    async def deliver(self) -> None:
        await self.sender.deliver(list(self.outbox.items.values()))

    async def sweep(self) -> dict[str, float]:
        await self.sender.sweep(45)
        return self.figures.last


def world(*sequences: int) -> World:
    return World(*(item(sequence) for sequence in sequences))


async def test_what_is_stored_leaves_the_outbox():
    there = world(1, 2, 3)
    await there.deliver()
    assert there.waiting == set()
    assert len(there.sink.events) == 3
    assert there.sink.calls == 1


async def test_large_batches_go_in_several_calls():
    there = world(*range(1, 2 * MAX_EVENTS + 2))
    await there.deliver()
    assert there.sink.calls == 3
    assert there.waiting == set()


async def test_each_event_has_a_fate_of_its_own():
    there = world(1, 2, 3)
    there.sink.fates = {"ai:00-1": LATER, "ai:00-3": Verdict("refused", "event_id_conflict")}
    with pytest.raises(NotDeliveredError):
        await there.deliver()
    assert there.waiting == {1, 3}
    assert there.outbox.items["ai:00", 1].refused is None
    assert there.outbox.items["ai:00", 3].refused == "event_id_conflict"


async def test_a_sink_that_is_down_keeps_everything_until_it_is_up():
    there = world(1, 2)
    there.sink.down = True
    with pytest.raises(NotDeliveredError):
        await there.deliver()
    figures = await there.sweep()
    assert figures == {"AuditOutboxOldestSeconds": 3600.0, "AuditOutboxRefused": 0.0}
    assert there.waiting == {1, 2}
    there.sink.down = False
    assert (await there.sweep())["AuditOutboxOldestSeconds"] == 0
    assert there.waiting == set()
    assert len(there.sink.events) == 2


async def test_a_crash_after_the_call_and_before_the_removal_doubles_nothing():
    there = world(1, 2)
    there.outbox.crash = True
    with pytest.raises(ConnectionError):
        await there.deliver()
    assert there.waiting == {1, 2}
    assert len(there.sink.events) == 2
    await there.sweep()
    assert there.waiting == set()
    assert len(there.sink.events) == 2


@pytest.mark.parametrize("position", [1, 37, 100])
async def test_one_event_for_which_the_whole_call_is_refused_is_found(position):
    there = world(*range(1, 101))
    there.sink.poison = {f"ai:00-{position}"}
    await there.deliver()
    assert there.waiting == {position}
    assert there.outbox.items["ai:00", position].refused == "invalid_request"
    assert len(there.sink.events) == 99
    assert there.sink.calls < 20


async def test_refused_items_are_kept_counted_and_not_sent_again():
    there = world(1, 2)
    there.sink.fates = {"ai:00-1": Verdict("refused", "content_too_large")}
    await there.sweep()
    calls = there.sink.calls
    figures = await there.sweep()
    assert figures == {"AuditOutboxOldestSeconds": 0.0, "AuditOutboxRefused": 1.0}
    assert there.sink.calls == calls


async def test_the_sweep_leaves_what_the_stream_is_about_to_bring():
    young = item(2, recorded_at=NOW - LEFT_BEHIND_AFTER + timedelta(seconds=1))
    there = World(item(1), young)
    figures = await there.sweep()
    assert there.waiting == {2}
    assert figures["AuditOutboxOldestSeconds"] == pytest.approx(119)


async def test_the_sweep_goes_through_all_producers_and_pages():
    items = [item(n, producer) for producer in PRODUCERS for n in range(1, 2 * MAX_EVENTS + 1)]
    there = World(*items)
    await there.sweep()
    assert there.waiting == set()
    assert len(there.sink.events) == len(items)


async def test_the_sweep_ends_in_time_and_tells_what_is_left():
    there = World(*(item(n) for n in range(1, MAX_EVENTS + 2)), item(1, "ai:01"))
    send = there.sink.send

    async def slow(events):
        there.time += 46
        return await send(events)

    there.sink.send = slow
    figures = await there.sweep()
    assert there.sink.calls == 1
    assert len(there.outbox.items) == 2
    assert figures["AuditOutboxOldestSeconds"] == 3600


async def test_a_sink_that_is_down_is_asked_once_in_a_sweep():
    there = World(item(1), item(1, "ai:01"))
    there.sink.down = True
    await there.sweep()
    assert there.sink.calls == 1
