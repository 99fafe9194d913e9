"""Connections in the service's table, and who follows which topic.

| pk                         | sk                | attributes                                    |
|----------------------------|-------------------|-----------------------------------------------|
| CONNECTION#<id>            | CONNECTION        | topics (JSON: the shard of each), user_id,    |
|                            |                   | connected_at (seconds), expires_at            |
| TOPIC#<topic>#<shard>      | CONNECTION#<id>   | connected_at, expires_at                      |
| TOPIC#<topic>              | SHARDS            | shards; none means one                        |
| CONNECTIONS#<user>         | CONNECTION#<id>   | expires_at                                    |

| access pattern             | operation                                                         |
|----------------------------|-------------------------------------------------------------------|
| a client connects          | TransactWriteItems: the ticket is used up if it is good, the      |
|                            | connection and all that leads to it are put                       |
| a client goes, or is gone  | GetItem, BatchWriteItem                                           |
| who follows a topic        | GetItem of its shards, Query of each, consistent                  |
| a topic fills              | Query of its newest shard, counted; UpdateItem if it has as many  |
|                            | shards as before                                                  |

The item of the shards stays as long as the table: it is there for topics that once had hundreds of
connections, and those that follow could not be found without it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

from functions.messaging.adapters.dynamodb_tickets import milliseconds, ticket_key
from functions.messaging.domain.connections import Connection, Member, MemberPage
from servicekit.clock import Clock
from servicekit.dynamodb import (
    ConditionFailedError,
    DynamoTable,
    Expression,
    Item,
    Key,
    Put,
    TransactionRefusedError,
    Update,
    Write,
)

_PREFIX = "CONNECTION#"
_NEW = Expression("attribute_not_exists(pk)")


class DynamoConnections:
    """`connections.ConnectionStore`."""

    def __init__(self, table: DynamoTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    async def shards(self, topics: Sequence[str]) -> dict[str, int]:
        """See `ConnectionStore`."""
        keys = {f"TOPIC#{topic}": topic for topic in topics}
        found = dict.fromkeys(topics, 1)
        if len(topics) == 1:
            item = await self._table.get(_shards_key(topics[0]))
            items = [item] if item else []
        else:
            items = await self._table.get_batch([_shards_key(topic) for topic in topics])
        for item in items:
            found[keys[str(item["pk"])]] = cast("int", item["shards"])
        return found

    async def fill(self, topic: str, shard: int, limit: int) -> int:
        """See `ConnectionStore`."""
        return await self._count(_shard_pk(topic, shard), limit)

    async def grow(self, topic: str, seen: int, shards: int) -> None:
        """See `ConnectionStore`."""
        expression = Expression(
            "attribute_not_exists(pk) OR shards = :seen" if seen == 1 else "shards = :seen",
            update="SET shards = :shards",
            values={":seen": seen, ":shards": shards},
        )
        try:
            await self._table.update(Update(_shards_key(topic), expression))
        except ConditionFailedError:
            return

    async def of_user(self, user_id: int, limit: int) -> int:
        """See `ConnectionStore`."""
        return await self._count(f"CONNECTIONS#{user_id}", limit)

    async def open(self, digest: str, connection: Connection) -> bool:
        """See `ConnectionStore`."""
        use = Expression(
            "attribute_exists(pk) AND attribute_not_exists(used_by) AND valid_until > :now",
            update="SET used_by = :connection",
            values={
                ":now": milliseconds(connection.connected_at),
                ":connection": connection.connection_id,
            },
        )
        writes: list[Write] = [
            Update(ticket_key(digest), use),
            Put(_connection_item(connection), _NEW),
            *(Put(_member_item(connection, topic), _ANY) for topic in connection.topics),
        ]
        if connection.user_id is not None:
            item: Item = {
                **_user_key(connection.user_id, connection.connection_id),
                "expires_at": int(connection.expires_at.timestamp()),
            }
            writes.append(Put(item, _ANY))
        try:
            await self._table.transact(writes)
        except TransactionRefusedError:
            return False
        return True

    async def get(self, connection_id: str) -> Connection | None:
        """See `ConnectionStore`."""
        item = await self._table.get(_connection_key(connection_id))
        return _connection(item) if item else None

    async def join(self, connection: Connection, topic: str) -> None:
        """See `ConnectionStore`."""
        await self._table.write_batch(puts=[_member_item(connection, topic)])

    async def leave(self, connection: Connection, topic: str) -> None:
        """See `ConnectionStore`."""
        key = _member_key(connection.connection_id, topic, connection.topics[topic])
        await self._table.write_batch(deletes=[key])

    async def members(
        self, topic: str, shard: int, limit: int, start: str | None = None
    ) -> MemberPage:
        """See `ConnectionStore`."""
        pk = _shard_pk(topic, shard)
        page = await self._table.query(
            "pk = :pk",
            {":pk": pk},
            limit=limit,
            start={"pk": pk, "sk": start} if start else None,
        )
        now = self._clock().timestamp()
        members = [
            _member(topic, shard, item)
            for item in page.items
            if cast("int", item["expires_at"]) > now
        ]
        return MemberPage(members, str(page.last_key["sk"]) if page.last_key else None)

    async def remove(self, connection_id: str, found: Member | None = None) -> None:
        """See `ConnectionStore`."""
        connection = await self.get(connection_id)
        keys: dict[tuple[str, str], Key] = {}
        wanted = [_connection_key(connection_id)] if connection else []
        if found is not None:
            wanted.append(_member_key(connection_id, found.topic, found.shard))
        if connection is not None:
            wanted += [
                _member_key(connection_id, topic, shard)
                for topic, shard in connection.topics.items()
            ]
            if connection.user_id is not None:
                wanted.append(_user_key(connection.user_id, connection_id))
        for key in wanted:
            keys[key["pk"], key["sk"]] = key
        if keys:
            # A batch may hold a key once. The connection goes with the others: where a part fails,
            # what is left is met again or ends by itself.
            await self._table.write_batch(deletes=list(keys.values()))

    async def _count(self, pk: str, limit: int) -> int:
        now = int(self._clock().timestamp())
        page = await self._table.query(
            "pk = :pk",
            {":pk": pk, ":now": now},
            limit=limit,
            filter_by="expires_at > :now",
            projection="sk",
        )
        return len(page.items)


_ANY = Expression("attribute_not_exists(pk) OR attribute_exists(pk)")


def _shard_pk(topic: str, shard: int) -> str:
    return f"TOPIC#{topic}#{shard}"


def _shards_key(topic: str) -> Key:
    return {"pk": f"TOPIC#{topic}", "sk": "SHARDS"}


def _connection_key(connection_id: str) -> Key:
    return {"pk": f"{_PREFIX}{connection_id}", "sk": "CONNECTION"}


def _member_key(connection_id: str, topic: str, shard: int) -> Key:
    return {"pk": _shard_pk(topic, shard), "sk": f"{_PREFIX}{connection_id}"}


def _user_key(user_id: int, connection_id: str) -> Key:
    return {"pk": f"CONNECTIONS#{user_id}", "sk": f"{_PREFIX}{connection_id}"}


def _times(connection: Connection) -> Item:
    return {
        "connected_at": int(connection.connected_at.timestamp()),
        "expires_at": int(connection.expires_at.timestamp()),
    }


def _connection_item(connection: Connection) -> Item:
    return {
        **_connection_key(connection.connection_id),
        "topics": json.dumps(dict(connection.topics)),
        "user_id": connection.user_id,
        **_times(connection),
    }


def _member_item(connection: Connection, topic: str) -> Item:
    key = _member_key(connection.connection_id, topic, connection.topics[topic])
    return {**key, **_times(connection)}


def _connection(item: Item) -> Connection:
    return Connection(
        connection_id=str(item["pk"]).removeprefix(_PREFIX),
        topics=json.loads(str(item["topics"])),
        user_id=cast("int | None", item["user_id"]),
        connected_at=_moment(item["connected_at"]),
        expires_at=_moment(item["expires_at"]),
    )


def _member(topic: str, shard: int, item: Item) -> Member:
    return Member(
        connection_id=str(item["sk"]).removeprefix(_PREFIX),
        topic=topic,
        shard=shard,
        connected_at=_moment(item["connected_at"]),
    )


def _moment(seconds: object) -> datetime:
    return datetime.fromtimestamp(cast("int", seconds), UTC)
