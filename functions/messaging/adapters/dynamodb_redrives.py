"""Redrives in the service's table.

| pk       | sk   | attributes                                                                  |
|----------|------|-----------------------------------------------------------------------------|
| REDRIVES | <id> | stream, filter (JSON), rate, requested_by, created_at, updated_at, state,   |
|          |      | fingerprint, cursor, sent, failed, finished_at, error, token, lease_until,  |
|          |      | expires_at; gsi1 REDRIVES#<stream> / <created_at>#<id>                      |
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, cast

from functions.messaging.domain.letters import LetterFilter
from functions.messaging.domain.redrives import (
    Leased,
    Redrive,
    RedriveHeldError,
    RedrivePage,
    State,
)
from servicekit.clock import Clock, from_text, to_text
from servicekit.dynamodb import (
    ConditionFailedError,
    DynamoTable,
    Expression,
    Item,
    Key,
    Put,
    Update,
    Value,
)
from servicekit.errors import StoreUnavailableError
from servicekit.paging import decode_cursor, encode_cursor

LEASE = timedelta(seconds=120)
"""Longer than a step of the work takes, which renews it."""

PK = "REDRIVES"
_TIMES = ("older_than", "newer_than")
_NAMES = {"#state": "state", "#token": "token"}
_OPEN = "#state IN (:queued, :running)"
_OPEN_VALUES: dict[str, Value] = {":queued": "queued", ":running": "running"}


class DynamoRedrives:
    """`redrives.RedriveStore`."""

    def __init__(self, table: DynamoTable, clock: Clock, retention_days: int) -> None:
        self._table = table
        self._clock = clock
        self._kept = timedelta(days=retention_days)

    async def create(self, redrive: Redrive) -> Redrive | None:
        """See `RedriveStore`."""
        expires_at = int((self._clock() + self._kept).timestamp())
        item = {**_item(redrive), "token": "", "lease_until": 0, "expires_at": expires_at}
        try:
            await self._table.put(Put(item, Expression("attribute_not_exists(pk)")))
        except ConditionFailedError as refused:
            found = refused.item or await self._table.get(_key(redrive.redrive_id))
            if found is None:
                raise StoreUnavailableError(retry_after=1) from None
            return _redrive(found)
        return None

    async def get(self, redrive_id: str) -> Redrive | None:
        """See `RedriveStore`."""
        item = await self._table.get(_key(redrive_id))
        return _redrive(item) if item else None

    async def of_stream(self, stream: str, limit: int, cursor: str | None) -> RedrivePage:
        """See `RedriveStore`."""
        query = f"redrives {stream}"
        start = json.loads(decode_cursor(cursor, query)) if cursor else None
        page = await self._table.query(
            "gsi1pk = :pk",
            {":pk": f"{PK}#{stream}"},
            limit=limit,
            index="gsi1",
            forward=False,
            start=start,
        )
        return RedrivePage(
            [_redrive(item) for item in page.items],
            encode_cursor(json.dumps(page.last_key), query) if page.last_key else None,
        )

    async def end(self, redrive_id: str, state: State, error: str | None = None) -> Redrive | None:
        """See `RedriveStore`."""
        now = to_text(self._clock())
        expression = Expression(
            _OPEN,
            update="SET #state = :state, #error = :error, updated_at = :now, finished_at = :now",
            names={"#state": "state", "#error": "error"},
            values={**_OPEN_VALUES, ":state": state, ":error": error, ":now": now},
        )
        try:
            return _redrive(await self._table.update(Update(_key(redrive_id), expression)))
        except ConditionFailedError:
            return None

    async def lease(self, redrive_id: str) -> Leased | None:
        """See `RedriveStore`."""
        now = self._clock()
        token = secrets.token_hex(16)
        expression = Expression(
            f"{_OPEN} AND lease_until < :now",
            update="SET #state = :running, #token = :token, lease_until = :lease",
            names=_NAMES,
            values={
                **_OPEN_VALUES,
                ":now": _seconds(now),
                ":token": token,
                ":lease": _seconds(now + LEASE),
            },
        )
        try:
            item = await self._table.update(Update(_key(redrive_id), expression))
        except ConditionFailedError as refused:
            item = refused.item or {}
            if item.get("token") == token:
                return Leased(_redrive(item), token)
            if item.get("state") in _OPEN_VALUES.values():
                raise RedriveHeldError from None
            return None
        return Leased(_redrive(item), token)

    async def advance(self, leased: Leased, redrive: Redrive, *, done: bool) -> bool:
        """See `RedriveStore`."""
        now = self._clock()
        assignments = [
            "#cursor = :cursor",
            "sent = :sent",
            "failed = :failed",
            "updated_at = :now",
            "lease_until = :lease",
        ]
        values: dict[str, Value] = {
            ":cursor": redrive.cursor,
            ":sent": redrive.sent,
            ":failed": redrive.failed,
            ":now": to_text(now),
            ":lease": 0 if done else _seconds(now + LEASE),
            ":running": "running",
            ":token": leased.token,
        }
        if done:
            assignments += ["#state = :completed", "finished_at = :now"]
            values[":completed"] = "completed"
        # What was sent is sent, though the redrive be cancelled meanwhile: it is counted then too.
        condition = "#token = :token AND #state = :running"
        if not done:
            values[":cancelled"] = "cancelled"
            condition = "#token = :token AND #state IN (:running, :cancelled)"
        expression = Expression(
            condition,
            update=f"SET {', '.join(assignments)}",
            names={**_NAMES, "#cursor": "cursor"},
            values=values,
        )
        try:
            item = await self._table.update(Update(_key(redrive.redrive_id), expression))
        except ConditionFailedError:
            return False
        return done or item["state"] == "running"

    async def release(self, leased: Leased) -> None:
        """See `RedriveStore`."""
        expression = Expression(
            "#token = :token",
            update="SET lease_until = :none",
            names={"#token": "token"},
            values={":token": leased.token, ":none": 0},
        )
        try:
            await self._table.update(Update(_key(leased.redrive.redrive_id), expression))
        except ConditionFailedError:
            return


def _key(redrive_id: str) -> Key:
    return {"pk": PK, "sk": redrive_id}


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _item(redrive: Redrive) -> Item:
    created_at = to_text(redrive.created_at)
    return {
        **_key(redrive.redrive_id),
        "gsi1pk": f"{PK}#{redrive.stream}",
        "gsi1sk": f"{created_at}#{redrive.redrive_id}",
        "stream": redrive.stream,
        "filter": json.dumps(
            {
                name: to_text(value) if isinstance(value, datetime) else value
                for name, value in asdict(redrive.filter).items()
            }
        ),
        "rate": redrive.rate,
        "requested_by": redrive.requested_by,
        "created_at": created_at,
        "updated_at": to_text(redrive.updated_at),
        "fingerprint": redrive.fingerprint,
        "state": redrive.state,
        "cursor": redrive.cursor,
        "sent": redrive.sent,
        "failed": redrive.failed,
        "finished_at": None,
        "error": redrive.error,
    }


def _redrive(item: Item) -> Redrive:
    wanted: dict[str, Any] = {
        name: from_text(value) if name in _TIMES and value else value
        for name, value in json.loads(str(item["filter"])).items()
    }
    finished_at = item.get("finished_at")
    return Redrive(
        redrive_id=str(item["sk"]),
        stream=str(item["stream"]),
        filter=LetterFilter(**wanted),
        rate=cast("int", item["rate"]),
        requested_by=str(item["requested_by"]),
        created_at=from_text(str(item["created_at"])),
        updated_at=from_text(str(item["updated_at"])),
        fingerprint=str(item["fingerprint"]),
        state=cast("State", item["state"]),
        cursor=str(item["cursor"]),
        sent=cast("int", item["sent"]),
        failed=cast("int", item["failed"]),
        finished_at=from_text(str(finished_at)) if finished_at else None,
        error=cast("str | None", item.get("error")),
    )
