"""Follows live progress over the WebSocket: every message once and in order, come what may.

A message is pushed to whoever is connected, perhaps twice, perhaps out of order; a connection
breaks, and ends after two hours anyhow. What makes that whole is the sequence of each topic: this
client keeps the last one that it told of, drops what it has, holds back what came too early, and
asks for what is missing. The library `websockets` is imported when it connects.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from typing import Protocol, Self
from urllib.parse import urlencode

from pydantic import TypeAdapter, ValidationError

from contracts.client.errors import (
    RateLimitedError,
    ServiceFailedError,
    ServiceTimeoutError,
    ServiceUnreachableError,
)
from contracts.messaging.progress import (
    MAX_IDLE_SECONDS,
    ClientMessage,
    ErrorFrame,
    Frame,
    GapFrame,
    PongFrame,
    ProgressFrame,
    ResumedFrame,
    SubscribedFrame,
    Ticket,
)

HEARTBEAT_SECONDS = 240.0
"""Well within API Gateway's ten minutes; each also asks for what may have been missed."""

ANSWER_SECONDS = 15.0
OPEN_SECONDS = 40.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
MAX_REFUSALS = 5
MAX_HELD_BACK = 10_000

_FRAME: TypeAdapter[Frame] = TypeAdapter(Frame)
# Of the ticket's issuer: the same call may do in a moment.
_PASSING = (
    RateLimitedError,
    ServiceFailedError,
    ServiceTimeoutError,
    ServiceUnreachableError,
    OSError,
)
_logger = logging.getLogger(__name__)
_wire = logging.getLogger(f"{__name__}.wire")
# Below that, the library logs addresses, and with them tickets.
_wire.setLevel(logging.INFO)


class FollowingRefusedError(Exception):
    """Fresh tickets are refused again and again: those who issue them must be asked why."""


class ConnectionLostError(Exception):
    """The connection is over; there may be another one."""


class ConnectionRefusedByTicketError(Exception):
    """The service did not let the ticket in."""


class Connection(Protocol):
    """An open WebSocket."""

    async def send(self, text: str) -> None:
        """Sends a message. Raises `ConnectionLostError`."""

    async def receive(self) -> str:
        """The next message. Raises `ConnectionLostError`."""


Connect = Callable[[str], AbstractAsyncContextManager[Connection]]
"""Opens an address. Raises `ConnectionRefusedByTicketError` and `ConnectionLostError`."""

TicketSource = Callable[[], Awaitable[Ticket]]


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of the topic between `after` and `sequence` are lost for good."""

    topic: str
    after: int
    sequence: int


Told = ProgressFrame | Gap


@dataclass(slots=True)
class _Topic:
    """How far a topic was told; None until it is known where "from now on" is."""

    position: int | None
    resuming: bool = False
    early: dict[int, ProgressFrame] = field(default_factory=dict)


class Follower:
    """What to tell of the frames that come, and what to ask; without any connection of its own."""

    def __init__(self, after: Mapping[str, int | None]) -> None:
        self._topics = {topic: _Topic(position) for topic, position in after.items()}

    @property
    def positions(self) -> dict[str, int | None]:
        """The last sequence told of each topic."""
        return {name: topic.position for name, topic in self._topics.items()}

    def resume(self) -> list[ClientMessage]:
        """What to ask after connecting, and now and then."""
        return [self._ask(name, topic) for name, topic in self._topics.items()]

    def take(self, frame: Frame) -> tuple[list[Told], list[ClientMessage]]:
        """What to tell, in order, and what to ask."""
        if isinstance(frame, PongFrame | SubscribedFrame | ErrorFrame):
            return [], []
        topic = self._topics.get(frame.topic)
        if topic is None:
            return [], []
        if isinstance(frame, ProgressFrame):
            return self._progress(frame, topic)
        if isinstance(frame, GapFrame):
            return self._gap(frame, topic)
        return self._resumed(frame, topic)

    def _progress(
        self, frame: ProgressFrame, topic: _Topic
    ) -> tuple[list[Told], list[ClientMessage]]:
        if topic.position is not None and frame.sequence <= topic.position:
            return [], []
        if len(topic.early) < MAX_HELD_BACK:
            topic.early[frame.sequence] = frame
        told = _drain(topic)
        if topic.early and not topic.resuming:
            return told, [self._ask(frame.topic, topic)]
        return told, []

    @staticmethod
    def _gap(frame: GapFrame, topic: _Topic) -> tuple[list[Told], list[ClientMessage]]:
        if topic.position is None:
            return [], []
        if frame.after > frame.sequence:
            # The topic has begun anew: what was held back is of its former life.
            topic.early = {n: one for n, one in topic.early.items() if n > frame.sequence}
        elif frame.sequence <= topic.position:
            return [], []
        gap = Gap(frame.topic, topic.position, frame.sequence)
        topic.position = frame.sequence
        return [gap, *_drain(topic)], []

    def _resumed(
        self, frame: ResumedFrame, topic: _Topic
    ) -> tuple[list[Told], list[ClientMessage]]:
        topic.resuming = False
        if topic.position is None:
            # What was pushed since the connection is there counts as "from now on".
            topic.position = min([frame.sequence, *(n - 1 for n in topic.early)])
        told = _drain(topic)
        missing = topic.early or topic.position < frame.sequence
        return told, [self._ask(frame.topic, topic)] if frame.more or missing else []

    @staticmethod
    def _ask(name: str, topic: _Topic) -> ClientMessage:
        topic.resuming = True
        if topic.position is None:
            return ClientMessage(action="resume", topic=name)
        return ClientMessage(action="resume", topic=name, after=topic.position)


def _drain(topic: _Topic) -> list[Told]:
    """Whatever comes next of what is there."""
    told: list[Told] = []
    if topic.position is None:
        return told
    topic.early = {n: frame for n, frame in topic.early.items() if n > topic.position}
    while (frame := topic.early.pop(topic.position + 1, None)) is not None:
        told.append(frame)
        topic.position += 1
    return told


class ProgressClient:
    """Follows topics until its iteration is left: `async for told in following: ...` within
    `async with contextlib.aclosing(client.follow()) as following`, which ends the connection.

    `ticket` gets a new ticket for each connection, naming all topics of `after`. That says behind
    which sequence each topic is wanted: 0 for all that the service still has (a day), None for what
    comes from now on. A reader that stops for a while is told later, by resuming.
    """

    def __init__(
        self,
        ticket: TicketSource,
        after: Mapping[str, int | None],
        *,
        connect: Connect | None = None,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        pause: Callable[[int], float] | None = None,
    ) -> None:
        """`pause` gives the seconds before the next attempt after so many that failed."""
        if not 0 < heartbeat_seconds < MAX_IDLE_SECONDS:
            raise ValueError(f"heartbeat_seconds is not within {MAX_IDLE_SECONDS} s")
        self._ticket = ticket
        self._connect = connect or _websocket
        self._heartbeat_seconds = heartbeat_seconds
        self._pause = pause or _full_jitter
        self._follower = Follower(after)

    @property
    def positions(self) -> dict[str, int | None]:
        """The last sequence told of each topic: where another client may go on."""
        return self._follower.positions

    async def follow(self) -> AsyncGenerator[Told, None]:
        """Messages of each topic in order and once, and what was lost of them.

        Raises `FollowingRefusedError`, and what `ticket` raises when it is not of a kind that
        passes.
        """
        failures = refusals = 0
        while True:
            try:
                ticket = await self._ticket()
                address = f"{ticket.url}?{urlencode({'ticket': ticket.ticket})}"
                async with (
                    self._connect(address) as connection,
                    aclosing(self._converse(connection)) as conversation,
                ):
                    failures = refusals = 0
                    async for told in conversation:
                        yield told
            except ConnectionRefusedByTicketError:
                refusals += 1
                failures += 1
                if refusals >= MAX_REFUSALS:
                    raise FollowingRefusedError from None
            except (ConnectionLostError, *_PASSING) as error:
                failures += 1
                _logger.info("to be connected again", extra={"error": type(error).__name__})
            await asyncio.sleep(self._pause(failures))

    async def _converse(self, connection: Connection) -> AsyncGenerator[Told, None]:
        """Until the connection is lost, which raises `ConnectionLostError`."""
        loop = asyncio.get_running_loop()
        await self._ask(connection, self._follower.resume())
        beat, heard = loop.time() + self._heartbeat_seconds, True
        while True:
            try:
                async with asyncio.timeout_at(beat):
                    text = await connection.receive()
            except TimeoutError:
                if not heard:
                    raise ConnectionLostError from None
                ping = ClientMessage(action="ping")
                await self._ask(connection, [ping, *self._follower.resume()])
                beat, heard = loop.time() + ANSWER_SECONDS, False
                continue
            if not heard:
                beat, heard = loop.time() + self._heartbeat_seconds, True
            frame = _read(text)
            if frame is None:
                continue
            if isinstance(frame, ErrorFrame) and frame.code == "not_connected":
                raise ConnectionLostError
            told, questions = self._follower.take(frame)
            await self._ask(connection, questions)
            for one in told:
                yield one

    @staticmethod
    async def _ask(connection: Connection, questions: list[ClientMessage]) -> None:
        for question in questions:
            await connection.send(question.model_dump_json(exclude_none=True))


def _read(text: str) -> Frame | None:
    """A frame; None for what a later version of the service may send."""
    try:
        return _FRAME.validate_json(text)
    except ValidationError:
        return None


def _full_jitter(failures: int) -> float:
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures, 10))
    return random.uniform(0, longest)  # noqa: S311


class _WebSocket:
    """`Connection` on the library `websockets`."""

    def __init__(self, address: str) -> None:
        from websockets.asyncio.client import connect  # noqa: PLC0415 - optional, see the module

        # API Gateway counts messages as signs of life, not pings of the protocol.
        self._opening = connect(
            address,
            open_timeout=OPEN_SECONDS,
            ping_interval=None,
            max_size=2**20,
            logger=_wire,
        )

    async def __aenter__(self) -> Self:
        from websockets.exceptions import (  # noqa: PLC0415
            InvalidHandshake,
            InvalidStatus,
        )

        try:
            self._socket = await self._opening.__aenter__()
        except InvalidStatus as refusal:
            if refusal.response.status_code in {401, 403}:
                raise ConnectionRefusedByTicketError from None
            raise ConnectionLostError from None
        except (InvalidHandshake, OSError, TimeoutError) as error:
            raise ConnectionLostError from error
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._socket.close()

    async def send(self, text: str) -> None:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415

        try:
            await self._socket.send(text)
        except ConnectionClosed:
            raise ConnectionLostError from None

    async def receive(self) -> str:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415

        try:
            message = await self._socket.recv()
        except ConnectionClosed:
            raise ConnectionLostError from None
        return message if isinstance(message, str) else message.decode()


def _websocket(address: str) -> AbstractAsyncContextManager[Connection]:
    return _WebSocket(address)
