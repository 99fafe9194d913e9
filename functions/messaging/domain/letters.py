"""The dead letters of a stream: found, counted, taken to be sent again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from functions.messaging.domain.dead_letters import DeadLetter

LetterState = Literal["dead", "sending", "redriven"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which letters; None chooses all. `older_than` is exclusive, `newer_than` is not."""

    event_type: str | None = None
    tenant: str | None = None
    consumer: str | None = None
    error: str | None = None
    older_than: datetime | None = None
    newer_than: datetime | None = None

    def matches(self, letter: DeadLetter) -> bool:
        """Whether the letter is one of them."""
        exact = (
            (self.event_type, letter.event_type),
            (self.tenant, letter.tenant),
            (self.consumer, letter.consumer),
            (self.error, letter.error),
        )
        return (
            all(wanted in (None, found) for wanted, found in exact)
            and (self.older_than is None or letter.died_at < self.older_than)
            and (self.newer_than is None or letter.died_at >= self.newer_than)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelvedLetter:
    """A letter where it lies. `redrive_id` is the last redrive that took it, while it is
    `sending`: taken, and perhaps sent; `redriven`: sent.
    """

    letter: DeadLetter
    first_died_at: datetime
    state: LetterState = "dead"
    redrive_id: str | None = None

    @property
    def key(self) -> str:
        """Its place in the order of `LetterShelf.walk`."""
        return letter_key(self.letter.event_id, self.letter.consumer)


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Letters that died last first."""

    letters: Sequence[ShelvedLetter]
    next_cursor: str | None


class LetterShelf(Protocol):
    """Where they lie. Every method raises `StoreUnavailableError`."""

    async def page(
        self, stream: str, wanted: LetterFilter, limit: int, cursor: str | None
    ) -> LetterPage:
        """A page of the dead. Raises `InvalidCursorError`."""

    async def walk(self, stream: str, after: str, limit: int) -> list[ShelvedLetter]:
        """Letters in every state behind the key `after`, in the order of keys; consistent."""

    async def count(self, stream: str) -> int:
        """How many are dead: all that were told of until a moment ago."""

    async def take(self, letter: ShelvedLetter, redrive_id: str) -> bool:
        """From dead to sending, one redrive more. False if it is not as it was read."""

    async def mark_redriven(self, letters: Sequence[ShelvedLetter], redrive_id: str) -> None:
        """From sending to redriven, those that still are this redrive's."""

    async def put_back(self, letters: Sequence[ShelvedLetter], redrive_id: str) -> None:
        """From sending to dead, as if they had not been taken."""


def letter_key(event_id: str, consumer: str) -> str:
    """Of a letter within its stream."""
    return f"{event_id}#{consumer}"


def count_alike(letters: Sequence[ShelvedLetter]) -> Mapping[tuple[str, str, str], int]:
    """How many there are of each event type, consumer and error; the most first."""
    counts: dict[tuple[str, str, str], int] = {}
    for shelved in letters:
        letter = shelved.letter
        alike = (letter.event_type, letter.consumer, letter.error)
        counts[alike] = counts.get(alike, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
