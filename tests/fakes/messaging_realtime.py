"""Live progress without AWS: its table in memory, and connections that fail as they are told."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import FastAPI

from contracts.messaging.operations import MAX_BODY_BYTES
from functions.messaging.domain.connections import Connection, Member, MemberPage
from functions.messaging.domain.conversation import Conversations
from functions.messaging.domain.progress import Message, NewMessage, ProgressLog, ProgressService
from functions.messaging.domain.progress_errors import ProgressConflictError
from functions.messaging.domain.push import Pusher, PushOrder
from functions.messaging.domain.sockets import (
    ConnectionBusyError,
    ConnectionGoneError,
    SendingFailedError,
)
from functions.messaging.domain.tickets import Ticket, TicketService
from functions.messaging.routes import progress, tickets
from functions.messaging.routes.socket import answer
from servicekit.audit import AuditTrail, AuditUnavailableError
from servicekit.fastapi_app import new_app

URL = "wss://live.test/live"


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class MemoryTable:
    """`TicketStore`, `ConnectionStore` and `ProgressLog`: what they promise, at once."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.tickets: dict[str, Ticket] = {}
        self.connections: dict[str, Connection] = {}
        self.followers: dict[tuple[str, int], dict[str, Member]] = defaultdict(dict)
        self.shard_counts: dict[str, int] = {}
        self.log: dict[str, list[Message]] = defaultdict(list)
        self.heads: dict[str, int] = defaultdict(int)
        self.by_event: dict[tuple[str, str], tuple[NewMessage, Message]] = {}

    # TicketStore
    async def add(self, ticket: Ticket) -> None:
        self.tickets[ticket.digest] = ticket

    async def find(self, digest: str) -> Ticket | None:
        found = self.tickets.get(digest)
        # Another one may be as far at the same time.
        await asyncio.sleep(0)
        return found

    # ConnectionStore
    async def shards(self, topics: Sequence[str]) -> dict[str, int]:
        return {topic: self.shard_counts.get(topic, 1) for topic in topics}

    async def fill(self, topic: str, shard: int, limit: int) -> int:
        return min(limit, len(self.followers[topic, shard]))

    async def grow(self, topic: str, seen: int, shards: int) -> None:
        if self.shard_counts.get(topic, 1) == seen:
            self.shard_counts[topic] = shards

    async def of_user(self, user_id: int, limit: int) -> int:
        own = [one for one in self.connections.values() if one.user_id == user_id]
        return min(limit, sum(one.expires_at > self.clock() for one in own))

    async def open(self, digest: str, connection: Connection) -> bool:
        ticket = self.tickets[digest]
        if not ticket.good(connection.connected_at):
            return False
        self.tickets[digest] = replace(ticket, used=True)
        self.connections[connection.connection_id] = connection
        for topic in connection.topics:
            await self.join(connection, topic)
        return True

    async def get(self, connection_id: str) -> Connection | None:
        return self.connections.get(connection_id)

    async def join(self, connection: Connection, topic: str) -> None:
        shard = connection.topics[topic]
        self.followers[topic, shard][connection.connection_id] = Member(
            connection_id=connection.connection_id,
            topic=topic,
            shard=shard,
            connected_at=connection.connected_at,
        )

    async def leave(self, connection: Connection, topic: str) -> None:
        shard = self.followers[topic, connection.topics[topic]]
        shard.pop(connection.connection_id, None)

    async def members(
        self, topic: str, shard: int, limit: int, start: str | None = None
    ) -> MemberPage:
        ids = sorted(name for name in self.followers[topic, shard] if name > (start or ""))
        page = [self.followers[topic, shard][name] for name in ids[:limit]]
        return MemberPage(page, ids[limit - 1] if len(ids) > limit else None)

    async def remove(self, connection_id: str, found: Member | None = None) -> None:
        self.connections.pop(connection_id, None)
        for shard in self.followers.values():
            shard.pop(connection_id, None)

    # ProgressLog
    async def append(self, new: NewMessage) -> Message:
        if new.event_id is not None and (new.topic, new.event_id) in self.by_event:
            before, message = self.by_event[new.topic, new.event_id]
            if before != new:
                raise ProgressConflictError
            return message
        self.heads[new.topic] += 1
        message = Message(
            topic=new.topic,
            sequence=self.heads[new.topic],
            at=self.clock(),
            data=new.data,
            terminal=new.terminal,
        )
        self.log[new.topic].append(message)
        if new.event_id is not None:
            self.by_event[new.topic, new.event_id] = (new, message)
        return message

    async def head(self, topic: str) -> int:
        return self.heads[topic]

    async def after(self, topic: str, sequence: int, limit: int) -> list[Message]:
        return [one for one in self.log[topic] if one.sequence > sequence][:limit]


class MemorySockets:
    """`Sockets`: connections that are open hear what is sent; others are gone."""

    def __init__(self) -> None:
        self.heard: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.open: set[str] = set()
        self.throttled: dict[str, int] = {}
        self.hanging: set[str] = set()
        self.forbidden = False
        self.calls = 0
        self.at_once = self.most_at_once = 0

    async def send(self, connection_id: str, text: str) -> None:
        self.calls += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            # Others have their turn, as with a network between.
            await asyncio.sleep(0)
            if connection_id in self.hanging:
                await asyncio.Event().wait()
        finally:
            self.at_once -= 1
        if self.forbidden:
            raise SendingFailedError
        if connection_id not in self.open:
            raise ConnectionGoneError
        if self.throttled.get(connection_id, 0):
            self.throttled[connection_id] -= 1
            raise ConnectionBusyError
        assert len(text.encode()) <= 32 * 1024
        self.heard[connection_id].append(json.loads(text))


class MemoryPushFunctions:
    """`PushFunctions`: orders wait until somebody runs them."""

    def __init__(self) -> None:
        self.orders: list[PushOrder] = []
        self.refusing = False

    async def hand_on(self, order: PushOrder) -> bool:
        if not self.refusing:
            self.orders.append(order)
        return not self.refusing


class MemoryOutbox:
    """`audit.Outbox`."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.failing = False

    async def append(self, event: Any) -> None:
        if self.failing:
            raise AuditUnavailableError
        self.events.append(event)


@dataclass(frozen=True, slots=True)
class _Dependencies:
    progress: ProgressService
    tickets: TicketService


class Realtime:
    """Everything of live progress over one table."""

    def __init__(self, table: Any = None, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.table: Any = table or MemoryTable(self.clock)
        self.sockets = MemorySockets()
        self.functions = MemoryPushFunctions()
        self.outbox = MemoryOutbox()
        self.wire(self.table, self.table, self.table)

    def wire(self, tickets_store: Any, connections: Any, log: ProgressLog) -> None:
        """Puts the parts together over these stores."""
        self.pusher = Pusher(self.sockets, connections, self.clock)
        self.progress = ProgressService(log, connections, self.pusher, self.functions)
        self.tickets = TicketService(tickets_store, AuditTrail(self.outbox), self.clock, URL)
        self.conversations = Conversations(
            tickets_store, connections, log, self.sockets, self.clock
        )

    def app(self) -> FastAPI:
        """The routes of both functions behind the API."""
        dependencies = _Dependencies(self.progress, self.tickets)
        return new_app(dependencies, progress.routes, tickets.routes, max_body_bytes=MAX_BODY_BYTES)

    async def event(self, kind: str, connection_id: str, **fields: Any) -> int:
        """What API Gateway is told of an event."""
        context = {"eventType": kind, "connectionId": connection_id, "requestId": "r"}
        told = await answer(self.conversations, {"requestContext": context, **fields})
        return told["statusCode"]

    async def connect(
        self, connection_id: str, *topics: str, user_id: int | None = None, settled: bool = True
    ) -> None:
        """An open connection that follows the topics; a settled one for longer than 30 s."""
        issued = await self.tickets.issue(topics, user_id)
        query = {"ticket": issued.secret}
        assert await self.event("CONNECT", connection_id, queryStringParameters=query) == 200
        self.sockets.open.add(connection_id)
        if settled:
            self.clock.pass_seconds(31)

    async def say(self, connection_id: str, **message: Any) -> list[dict[str, Any]]:
        """What a client hears in answer to what it says."""
        heard = self.sockets.heard[connection_id]
        before = len(heard)
        assert await self.event("MESSAGE", connection_id, body=json.dumps(message)) == 200
        return heard[before:]

    async def post(self, topic: str, number: int, **fields: Any) -> Any:
        """A message of that number."""
        return await self.progress.post(
            NewMessage(topic=topic, data=json.dumps({"n": number}), **fields)
        )

    def numbers(self, connection_id: str) -> list[int]:
        """Those of the messages that the connection heard."""
        heard = self.sockets.heard[connection_id]
        return [frame["data"]["n"] for frame in heard if frame["type"] == "progress"]
