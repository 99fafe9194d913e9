"""Events that a consumer gave up, kept until somebody sends them again or they expire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

SUBSCRIPTION_PREFIX = "subscription:"
"""Of the consumer name of a webhook subscription, before its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One event that one consumer gave up.

    `consumer` is a stream, another service's consumer, or `subscription:<id>`. `stream` is the
    event's own. `error` is a code, never a text of a third party. `attempts` counts all of them;
    `redrives` how often it was sent again before it came back. `delivery_id` names the message
    that was given up: the same one is one death however often it is told, another one is a new
    death even if nobody tried it. Without it, more attempts than before are a new death.
    """

    event_id: str
    event_type: str
    tenant: str
    stream: str
    consumer: str
    error: str
    attempts: int
    died_at: datetime
    redrives: int = 0
    delivery_id: str = ""


class DeadLetterBox(Protocol):
    """Where they go."""

    async def add(self, letter: DeadLetter) -> None:
        """Keeps it; one for each event and consumer, and a later one takes the place of the earlier
        and counts its redrives on. May be repeated.
        """


class Redeliveries(Protocol):
    """How events get to one kind of consumer again."""

    async def redeliver(self, letter: DeadLetter, redrive_id: str) -> None:
        """Sends the event to the letter's consumer again; may be repeated."""
