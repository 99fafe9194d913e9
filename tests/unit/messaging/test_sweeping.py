"""The sweep sends what crashes and refusals left behind."""

from datetime import timedelta

import pytest

from contracts.messaging.registry import EVENT_TYPES
from functions.messaging.domain.sweeping import OLDEST, Pace, Sweeper
from servicekit.errors import StoreUnavailableError
from tests.fakes.messaging_events import MemoryMetrics, MessageService

pytestmark = pytest.mark.anyio


class World:
    def __init__(self) -> None:
        self.service = MessageService()
        self.store, self.bus = self.service.store, self.service.bus
        self.metrics = MemoryMetrics()
        self.slept: list[float] = []
        self.seconds = 0.0
        self.sweeper = Sweeper(
            self.store,
            self.bus,
            self.service.schemas,
            self.metrics,
            Pace(timedelta(seconds=60), 100),
            self.service.clock,
            timer=lambda: self.seconds,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    async def left_behind(self, *ids: str) -> None:
        """Accepted, and then the process was killed."""
        self.bus.down = True
        for event_id in ids:
            body = {
                "id": event_id,
                "event_type": "card.moved",
                "payload": EVENT_TYPES["card.moved"].example,
            }
            response = await self.service.call("POST", "/api/v1/events", body)
            assert response.status_code == 202
        self.bus.down = False


@pytest.fixture
def world():
    return World()


async def test_what_was_accepted_and_not_put_is_sent_oldest_first(world):
    await world.left_behind("b", "a", "c")
    world.service.clock.pass_seconds(61)
    assert await world.sweeper.sweep(40) == 3
    assert world.bus.ids == ["b", "a", "c"]
    assert all(event.published_at for event in world.store.events.values())
    assert world.metrics.values == {OLDEST: 0.0}
    assert await world.sweeper.sweep(40) == 0
    assert world.bus.ids == ["b", "a", "c"]


async def test_what_was_put_and_not_marked_is_sent_again_under_its_id(world):
    world.store.failing = {"mark_published"}
    body = {"id": "a", "event_type": "t", "payload": {}}
    await world.service.call("POST", "/api/v1/events", body)
    world.store.failing = set()
    world.service.clock.pass_seconds(61)
    await world.sweeper.sweep(40)
    first, second = world.bus.taken
    assert first == second
    assert world.store.events["a"].published_at


async def test_what_is_still_in_a_callers_hands_is_left_there(world):
    await world.left_behind("a")
    world.service.clock.pass_seconds(30)
    assert await world.sweeper.sweep(40) == 0
    assert world.bus.ids == []


async def test_one_that_is_refused_holds_up_no_other(world):
    await world.left_behind("bad", *(f"e{n:03}" for n in range(120)))
    world.bus.refusing = {"bad"}
    world.service.clock.pass_seconds(400)
    assert await world.sweeper.sweep(40) == 120
    assert world.metrics.values[OLDEST] > 400
    assert len(world.bus.ids) == len(set(world.bus.ids)) == 120


async def test_a_bus_that_is_down_ends_the_sweep(world):
    await world.left_behind(*(f"e{n:03}" for n in range(400)))
    world.bus.down = True
    world.service.clock.pass_seconds(400)
    assert await world.sweeper.sweep(4000) == 0
    assert world.seconds < 4
    assert world.metrics.values[OLDEST] > 400


async def test_time_and_rate_are_bounded(world):
    await world.left_behind(*(f"e{n:03}" for n in range(300)))
    world.service.clock.pass_seconds(61)
    assert await world.sweeper.sweep(1) == 100
    assert world.slept == [0.5, 0.5]
    # What is left is told of.
    assert world.metrics.values[OLDEST] > 60
    assert await world.sweeper.sweep(40) == 200


async def test_marks_that_fail_end_in_repetitions_not_in_a_loop(world):
    await world.left_behind("a", "b")
    world.store.failing = {"mark_published"}
    world.service.clock.pass_seconds(61)
    await world.sweeper.sweep(40)
    assert world.bus.ids == ["a", "b"]
    world.store.failing = set()
    await world.sweeper.sweep(40)
    assert world.bus.ids == ["a", "b", "a", "b"]


async def test_an_index_that_is_behind_hides_nothing(world):
    await world.left_behind(*(f"e{n:03}" for n in range(170)))
    world.service.clock.pass_seconds(61)
    first = dict(world.store.events)
    unpublished = world.store.unpublished

    async def behind(before, limit):
        current, world.store.events = world.store.events, first
        try:
            return await unpublished(before, limit)
        finally:
            world.store.events = current

    world.store.unpublished = behind
    assert await world.sweeper.sweep(40) == 170
    assert len(world.bus.ids) == len(set(world.bus.ids)) == 170


async def test_without_the_store_the_sweep_fails_loudly(world):
    world.store.failing = {"unpublished"}
    with pytest.raises(StoreUnavailableError):
        await world.sweeper.sweep(40)
    assert world.metrics.values == {}
