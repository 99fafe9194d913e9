"""Who is connected, and follows what.

The connections of a topic lie in shards, which only become more: a new connection finds one of
those there are by its hash, and stays in it. So a topic with few of them is read with one query,
and one with a hundred thousand by many functions at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

MAX_SHARDS = 64
SHARD_FILL = 128
"""A topic whose newest shard holds more gets twice as many shards: it has three times as many
connections by then, as they fill alike."""

MAX_USER_CONNECTIONS = 50
"""Of one person: windows, devices, and those that are dead and not known to be. Of many that come
at the same moment a few more get in."""

KEPT_SECONDS = 2 * 3600 + 600
"""API Gateway ends a connection after two hours: what is older is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One client; `topics` are those of its ticket, each with the shard that it has there."""

    connection_id: str
    topics: Mapping[str, int]
    user_id: int | None
    connected_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A connection as one that follows a topic."""

    connection_id: str
    topic: str
    shard: int
    connected_at: datetime


@dataclass(frozen=True, slots=True)
class MemberPage:
    """Some members of a shard; `next` is where it goes on, None at the end."""

    members: Sequence[Member]
    next: str | None


class ConnectionStore(Protocol):
    """Where connections are kept. Every method raises `StoreUnavailableError`."""

    async def shards(self, topics: Sequence[str]) -> dict[str, int]:
        """How many shards each topic has, consistent."""

    async def fill(self, topic: str, shard: int, limit: int) -> int:
        """How many members a shard holds, counted up to `limit`."""

    async def grow(self, topic: str, seen: int, shards: int) -> None:
        """Gives the topic `shards` if it has `seen` of them still."""

    async def of_user(self, user_id: int, limit: int) -> int:
        """How many connections a person has, counted up to `limit`."""

    async def open(self, digest: str, connection: Connection) -> bool:
        """Uses the ticket up and stores the connection as a follower of its topics, all at once.

        False, and nothing is done, when the ticket was used or is too old.
        """

    async def get(self, connection_id: str) -> Connection | None:
        """The connection, consistent."""

    async def join(self, connection: Connection, topic: str) -> None:
        """Has the connection follow a topic of its ticket."""

    async def leave(self, connection: Connection, topic: str) -> None:
        """Has it no longer do that."""

    async def members(
        self, topic: str, shard: int, limit: int, start: str | None = None
    ) -> MemberPage:
        """Members of one shard, consistent."""

    async def remove(self, connection_id: str, found: Member | None = None) -> None:
        """Forgets the connection; `found` is where it was met. May be repeated."""


def shard_of(connection_id: str, shards: int) -> int:
    """The shard of a new connection."""
    digest = hashlib.sha256(connection_id.encode()).digest()
    return int.from_bytes(digest[:4]) % shards


def grown(shards: int, newest_fill: int) -> int:
    """How many shards a topic ought to have whose newest one holds so many."""
    return min(MAX_SHARDS, 2 * shards) if newest_fill > SHARD_FILL else shards
