"""How the streams stand: read from SQS, CloudWatch and the table, and never guessed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.messaging.streams import ALL_STREAMS, STREAMS, dead_letters_of
from functions.messaging.domain.deliveries import ConsumerRegistry, KnownConsumer
from functions.messaging.domain.letters import LetterShelf
from functions.messaging.domain.redrives import require_stream


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages of a queue: that wait, that are worked on, that are not to be seen yet."""

    waiting: int
    in_flight: int
    delayed: int


class Queues(Protocol):
    """The streams' queues."""

    async def depth(self, name: str) -> Depth:
        """Of the queue of that name. Raises `FiguresUnavailableError`."""

    async def ages(self, names: Sequence[str]) -> Mapping[str, int]:
        """Seconds that the oldest message of each queue waits; those that nothing is known of are
        left out. Raises `FiguresUnavailableError`.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFigures:
    """One stream. `oldest_age` in seconds, None while there is no datum."""

    name: str
    event_types: Sequence[str]
    depth: Depth
    oldest_age: int | None
    dead_letters: int
    undelivered_dead_letters: int
    consumers: Sequence[KnownConsumer]


class StreamService:
    """Reads the figures."""

    def __init__(self, queues: Queues, shelf: LetterShelf, consumers: ConsumerRegistry) -> None:
        self._queues = queues
        self._shelf = shelf
        self._consumers = consumers

    async def all(self) -> list[StreamFigures]:
        """Every stream. Raises `FiguresUnavailableError` and `StoreUnavailableError`."""
        return await self._read(ALL_STREAMS)

    async def one(self, stream: str) -> StreamFigures:
        """The stream. Raises `StreamNotFoundError` too."""
        require_stream(stream)
        (figures,) = await self._read([stream])
        return figures

    async def _read(self, streams: Sequence[str]) -> list[StreamFigures]:
        ages, known, each = await asyncio.gather(
            self._queues.ages(streams),
            self._consumers.all(),
            asyncio.gather(*(self._stream(stream) for stream in streams)),
        )
        return [
            StreamFigures(
                name=stream,
                event_types=STREAMS.get(stream, ()),
                depth=depth,
                oldest_age=ages.get(stream),
                dead_letters=letters,
                undelivered_dead_letters=undelivered,
                consumers=[consumer for consumer in known if consumer.stream == stream],
            )
            for stream, (depth, undelivered, letters) in zip(streams, each, strict=True)
        ]

    async def _stream(self, stream: str) -> tuple[Depth, int, int]:
        depth, dead, letters = await asyncio.gather(
            self._queues.depth(stream),
            self._queues.depth(dead_letters_of(stream)),
            self._shelf.count(stream),
        )
        return depth, dead.waiting + dead.in_flight + dead.delayed, letters
