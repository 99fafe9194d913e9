"""Replays in the service's table.

| pk      | sk   | attributes                                                                    |
|---------|------|-------------------------------------------------------------------------------|
| REPLAYS | <id> | stream, types (JSON), start, end, requested_by, created_at, fingerprint,      |
|         |      | state, replayed_until, finished_at, error, expires_at;                        |
|         |      | gsi1 REPLAYS / <created_at>#<id>                                              |
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import cast

from functions.messaging.domain.replays import Replay, ReplayPage, State
from servicekit.clock import Clock, from_text, to_text
from servicekit.dynamodb import (
    ConditionFailedError,
    DynamoTable,
    Expression,
    Item,
    Key,
    Put,
    Update,
)
from servicekit.errors import StoreUnavailableError
from servicekit.paging import decode_cursor, encode_cursor

PK = "REPLAYS"
_QUERY = "replays"


class DynamoReplays:
    """`replays.ReplayStore`."""

    def __init__(self, table: DynamoTable, clock: Clock, retention_days: int) -> None:
        self._table = table
        self._clock = clock
        self._kept = timedelta(days=retention_days)

    async def create(self, replay: Replay) -> Replay | None:
        """See `ReplayStore`."""
        expires_at = int((self._clock() + self._kept).timestamp())
        item = {**_item(replay), "expires_at": expires_at}
        try:
            await self._table.put(Put(item, Expression("attribute_not_exists(pk)")))
        except ConditionFailedError as refused:
            found = refused.item or await self._table.get(_key(replay.replay_id))
            if found is None:
                raise StoreUnavailableError(retry_after=1) from None
            return _replay(found)
        return None

    async def get(self, replay_id: str) -> Replay | None:
        """See `ReplayStore`."""
        item = await self._table.get(_key(replay_id))
        return _replay(item) if item else None

    async def page(self, limit: int, cursor: str | None) -> ReplayPage:
        """See `ReplayStore`."""
        start = json.loads(decode_cursor(cursor, _QUERY)) if cursor else None
        page = await self._table.query(
            "gsi1pk = :pk", {":pk": PK}, limit=limit, index="gsi1", forward=False, start=start
        )
        return ReplayPage(
            [_replay(item) for item in page.items],
            encode_cursor(json.dumps(page.last_key), _QUERY) if page.last_key else None,
        )

    async def store(self, replay: Replay) -> None:
        """See `ReplayStore`."""
        expression = Expression(
            "attribute_exists(pk) AND NOT #state IN (:completed, :cancelled, :failed)",
            update="SET #state = :state, replayed_until = :until, finished_at = :finished,"
            " #error = :error",
            names={"#state": "state", "#error": "error"},
            values={
                ":completed": "completed",
                ":cancelled": "cancelled",
                ":failed": "failed",
                ":state": replay.state,
                ":until": _text(replay.replayed_until),
                ":finished": _text(replay.finished_at),
                ":error": replay.error,
            },
        )
        try:
            await self._table.update(Update(_key(replay.replay_id), expression))
        except ConditionFailedError:
            return


def _key(replay_id: str) -> Key:
    return {"pk": PK, "sk": replay_id}


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else to_text(moment)


def _moment(value: object) -> datetime | None:
    return from_text(value) if isinstance(value, str) else None


def _item(replay: Replay) -> Item:
    created_at = to_text(replay.created_at)
    return {
        **_key(replay.replay_id),
        "gsi1pk": PK,
        "gsi1sk": f"{created_at}#{replay.replay_id}",
        "stream": replay.stream,
        "types": json.dumps(replay.types),
        "start": to_text(replay.start),
        "end": to_text(replay.end),
        "requested_by": replay.requested_by,
        "created_at": created_at,
        "fingerprint": replay.fingerprint,
        "state": replay.state,
        "replayed_until": None,
        "finished_at": None,
        "error": None,
    }


def _replay(item: Item) -> Replay:
    return Replay(
        replay_id=str(item["sk"]),
        stream=str(item["stream"]),
        types=json.loads(str(item["types"])),
        start=from_text(str(item["start"])),
        end=from_text(str(item["end"])),
        requested_by=str(item["requested_by"]),
        created_at=from_text(str(item["created_at"])),
        fingerprint=str(item["fingerprint"]),
        state=cast("State", item["state"]),
        replayed_until=_moment(item.get("replayed_until")),
        finished_at=_moment(item.get("finished_at")),
        error=cast("str | None", item.get("error")),
    )
