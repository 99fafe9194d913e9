"""The client: every message once and in order, whatever the connection does."""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest

from contracts.client.errors import NotAllowedError, ServiceTimeoutError
from contracts.messaging.progress import Frame, GapFrame, ProgressFrame, ResumedFrame, Ticket
from contracts.messaging.realtime import (
    MAX_REFUSALS,
    ConnectionLostError,
    ConnectionRefusedByTicketError,
    Follower,
    FollowingRefusedError,
    Gap,
    ProgressClient,
)
from contracts.problem import Problem
from tests.fakes.messaging_realtime import Realtime

pytestmark = pytest.mark.anyio

TOPIC = "job:1"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def frame(sequence: int, topic: str = TOPIC) -> ProgressFrame:
    return ProgressFrame(topic=topic, sequence=sequence, at=NOW, data={"n": sequence})


def resumed(sequence: int, more: bool = False) -> ResumedFrame:
    return ResumedFrame(topic=TOPIC, sequence=sequence, more=more)


def gap(after: int, sequence: int) -> GapFrame:
    return GapFrame(topic=TOPIC, after=after, sequence=sequence)


def run(follower: Follower, *frames: Frame) -> tuple[list[int], list[int | None]]:
    """What is told (gaps as negative numbers), and behind what is resumed."""
    told, asked = [], []
    for one in frames:
        more, questions = follower.take(one)
        told += [-t.sequence if isinstance(t, Gap) else t.sequence for t in more]
        asked += [question.after for question in questions]
    return told, asked


@pytest.mark.parametrize(
    ("after", "frames", "told", "asked"),
    [
        (0, [frame(1), frame(2), resumed(2)], [1, 2], []),
        # Live ones come between, and twice.
        (0, [frame(3), frame(1), frame(2), frame(3), resumed(3), frame(3)], [1, 2, 3], []),
        # One was lost on its way: the next one shows it.
        (0, [resumed(0), frame(2), frame(3), frame(1)], [1, 2, 3], [0]),
        (4, [resumed(4), frame(3), frame(5)], [5], []),
        # The last one was lost: the heartbeat's resume shows it.
        (4, [resumed(5)], [], [4]),
        (0, [frame(1), resumed(1, more=True), frame(2), resumed(2)], [1, 2], [1]),
        (2, [gap(2, 6), frame(7), resumed(7)], [-6, 7], []),
        # What is behind the gap was there before.
        (2, [frame(8), gap(2, 6), frame(7), resumed(8)], [-6, 7, 8], []),
        (5, [gap(2, 4)], [], []),
        # The topic began anew.
        (50, [frame(2), gap(50, 0), frame(1), frame(2), resumed(2)], [0, 1, 2], []),
        # From now on.
        (None, [resumed(7), frame(7), frame(8)], [8], []),
        (None, [frame(8), resumed(8), frame(9)], [8, 9], []),
        (None, [gap(1, 2), resumed(7)], [], []),
        (0, [frame(1, "job:2"), ResumedFrame(topic="job:2", sequence=4)], [], []),
    ],
)
def test_frames_become_messages_in_order(after, frames, told, asked):
    follower = Follower({TOPIC: after})
    follower.resume()
    assert run(follower, *frames) == (told, asked)


def test_whatever_the_order_each_is_told_once():
    dice = random.Random(7)
    for _ in range(200):
        follower = Follower({TOPIC: 0})
        follower.resume()
        sent = [frame(n) for n in range(1, 9)] * 2
        dice.shuffle(sent)
        told, _ = run(follower, *sent)
        assert told == list(range(1, 9))


class Server:
    """The service of the fakes, and connections to it that break when told to."""

    def __init__(self) -> None:
        self.live = Realtime()
        self.ids = itertools.count(1)
        self.connected: list[str] = []
        self.refusing = 0
        self.breaking = asyncio.Event()
        self.lose: set[int] = set()

    async def ticket(self) -> Ticket:
        issued = await self.live.tickets.issue([TOPIC], None)
        return Ticket(
            ticket=issued.secret,
            expires_at=issued.ticket.valid_until,
            url="ws://test/ws",
            topics=[TOPIC],
        )

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator["Wire"]:
        if self.refusing:
            self.refusing -= 1
            raise ConnectionRefusedByTicketError
        name = f"c{next(self.ids)}"
        query = {"ticket": address.partition("?ticket=")[2]}
        status = await self.live.event("CONNECT", name, queryStringParameters=query)
        if status != 200:
            raise ConnectionRefusedByTicketError
        self.live.sockets.open.add(name)
        self.live.clock.pass_seconds(31)
        self.connected.append(name)
        try:
            yield Wire(self, name)
        finally:
            self.live.sockets.open.discard(name)
            await self.live.event("DISCONNECT", name)

    async def somebody(self) -> None:
        """Returns once there is a connection."""
        while not self.connected:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)

    def client(self, after: int | None = 0, **options) -> ProgressClient:
        return ProgressClient(
            self.ticket, {TOPIC: after}, connect=self.connect, pause=lambda _: 0, **options
        )


class Wire:
    """One connection."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.name = name
        self.read = 0
        self.silent = False
        self.said: list[dict] = []

    async def send(self, text: str) -> None:
        self.said.append(json.loads(text))
        if not self.silent:
            await self.server.live.event("MESSAGE", self.name, body=text)

    async def receive(self) -> str:
        while True:
            if self.server.breaking.is_set():
                self.server.breaking.clear()
                raise ConnectionLostError
            heard = self.server.live.sockets.heard[self.name]
            if self.read < len(heard):
                self.read += 1
                one = heard[self.read - 1]
                if one.get("sequence") in self.server.lose and one["type"] == "progress":
                    self.server.lose.discard(one["sequence"])
                    continue
                return json.dumps(one)
            await asyncio.sleep(0)


async def follow(client: ProgressClient, count: int) -> list[int]:
    numbers = []
    async with aclosing(client.follow()) as following:
        async for told in following:
            assert isinstance(told, ProgressFrame)
            numbers.append(told.data["n"])
            if len(numbers) == count:
                break
    return numbers


async def test_a_client_that_reconnects_in_the_middle_sees_each_message_once():
    server = Server()
    following = asyncio.create_task(follow(server.client(), 60))
    for n in range(1, 61):
        await server.live.post(TOPIC, n)
        if n % 7 == 0:
            server.breaking.set()
        for _ in range(n % 5):
            await asyncio.sleep(0)
    assert await following == list(range(1, 61))
    assert len(server.connected) > 5


async def test_a_message_that_is_lost_on_its_way_is_asked_for():
    server = Server()
    server.lose = {2}
    following = asyncio.create_task(follow(server.client(), 3))
    await server.somebody()
    for n in range(1, 4):
        await server.live.post(TOPIC, n)
    assert await following == [1, 2, 3]


async def test_two_posters_and_a_reader_that_breaks_off():
    server = Server()
    following = asyncio.create_task(follow(server.client(), 100))

    async def post(first: int) -> None:
        for n in range(50):
            await server.live.post(TOPIC, first + n)
            await asyncio.sleep(0)
            if n % 10 == 0:
                server.breaking.set()

    await asyncio.gather(post(0), post(1000))
    seen = await following
    # By the log's order: each poster's own is kept within it.
    assert [n for n in seen if n < 1000] == list(range(50))
    assert [n for n in seen if n >= 1000] == list(range(1000, 1050))


async def test_another_client_goes_on_where_one_ended():
    server = Server()
    for n in range(1, 6):
        await server.live.post(TOPIC, n)
    first = server.client()
    assert await follow(first, 3) == [1, 2, 3]
    assert first.positions == {TOPIC: 3}
    assert await follow(server.client(3), 2) == [4, 5]


async def test_a_heartbeat_that_is_not_answered_opens_another_connection(monkeypatch):
    monkeypatch.setattr("contracts.messaging.realtime.ANSWER_SECONDS", 0.01)
    server = Server()
    wires = []
    connect = server.connect

    @asynccontextmanager
    async def silent_at_first(address: str):
        async with connect(address) as wire:
            wire.silent = not wires
            wires.append(wire)
            yield wire

    server.connect = silent_at_first  # type: ignore[method-assign]
    await server.live.post(TOPIC, 1)
    assert await follow(server.client(heartbeat_seconds=0.01), 1) == [1]
    assert [said["action"] for said in wires[0].said] == ["resume", "ping", "resume"]
    assert len(wires) == 2


async def test_the_last_message_is_found_by_the_heartbeat():
    server = Server()
    server.lose = {1}
    following = asyncio.create_task(follow(server.client(heartbeat_seconds=0.01), 1))
    await server.somebody()
    await server.live.post(TOPIC, 1)
    assert await following == [1]


async def test_some_refusals_are_borne_and_many_are_not():
    server = Server()
    await server.live.post(TOPIC, 1)
    server.refusing = MAX_REFUSALS - 1
    assert await follow(server.client(), 1) == [1]
    server.refusing = MAX_REFUSALS
    with pytest.raises(FollowingRefusedError):
        await follow(server.client(), 1)


async def test_tickets_that_come_late_are_waited_for_and_denied_ones_are_not():
    server = Server()
    await server.live.post(TOPIC, 1)
    failures: list[Exception] = [ServiceTimeoutError("m", "o", "r"), OSError()]
    issue = server.ticket

    async def ticket() -> Ticket:
        if failures:
            raise failures.pop()
        return await issue()

    server.ticket = ticket  # type: ignore[method-assign]
    assert await follow(server.client(), 1) == [1]
    failures.append(NotAllowedError("m", "o", Problem(title="t", status=403, code="c")))
    with pytest.raises(NotAllowedError):
        await follow(server.client(), 1)


async def test_frames_of_a_later_version_are_passed_over():
    server = Server()
    await server.live.post(TOPIC, 1)
    following = asyncio.create_task(follow(server.client(), 2))
    await server.somebody()
    server.live.sockets.heard[server.connected[0]].append({"type": "novelty"})
    await server.live.post(TOPIC, 2)
    assert await following == [1, 2]


def test_a_heartbeat_beyond_the_idle_limit_is_refused():
    for seconds in (0, 600):
        with pytest.raises(ValueError, match="heartbeat"):
            ProgressClient(Server().ticket, {}, heartbeat_seconds=seconds)


async def test_leaving_the_iteration_closes_the_connection():
    server = Server()
    await server.live.post(TOPIC, 1)
    told = server.client().follow()
    with suppress(StopAsyncIteration):
        await anext(told)
    await told.aclose()
    assert not server.live.sockets.open
