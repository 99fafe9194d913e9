"""Claims of a service's consumers, in the service's own table.

| pk               | sk                  | attributes                                              |
|------------------|---------------------|---------------------------------------------------------|
| CLAIM#<consumer> | <event>[#<replay>]  | status (running, released, done), token, lease_until,   |
|                  |                     | attempts, message_id, started_at, history (JSON),       |
|                  |                     | expires_at                                              |
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

from servicekit.clock import Clock, from_text, to_text, utc_now
from servicekit.consumption import INTERRUPTED, Attempt, Claim, Done, Free, Held, Outcome
from servicekit.dynamodb import ConditionFailedError, DynamoTable, Expression, Item, Key, Update
from servicekit.errors import StoreUnavailableError

PK_PREFIX = "CLAIM#"
"""Of the partition that a consumer's role may touch."""

MAX_HISTORY = 20
"""Attempts that a claim remembers: the last ones."""

_RUNNING = "running"
_RELEASED = "released"
_DONE = "done"
_NAMES = {"#status": "status", "#token": "token"}


class DynamoClaims:
    """`consumption.Claims`.

    `lease` is longer than a call of the function may take, so that whoever holds a claim past it is
    dead; the clocks of two processes may differ by the rest. `kept` is how long it is known that an
    event is done: at least as long as it can be sent again.
    """

    def __init__(
        self, table: DynamoTable, *, lease: timedelta, kept: timedelta, clock: Clock = utc_now
    ) -> None:
        self._table = table
        self._lease = lease
        self._kept = kept
        self._clock = clock

    async def take(self, consumer: str, key: str, message_id: str) -> Claim | Done | Held:
        """See `consumption.Claims`."""
        now = self._clock()
        wanted = Claim(
            consumer=consumer,
            key=key,
            token=secrets.token_hex(16),
            attempt=0,
            message_id=message_id,
            started_at=now,
        )
        try:
            item = await self._table.update(self._first(wanted, now))
        except ConditionFailedError as refused:
            found = refused.item or await self._table.get(_key(consumer, key))
            if found is None:
                raise StoreUnavailableError(retry_after=1) from None
            # The SDK repeats a call whose answer was lost: it may have been this very one.
            if found["token"] == wanted.token:
                return _taken(wanted, found)
            return await self._take_over(wanted, found, now)
        return _taken(wanted, item)

    async def finish(self, claim: Claim, attempt: Attempt, *, done: bool) -> bool:
        """See `consumption.Claims`."""
        try:
            await self._table.update(self.completion(claim, attempt, done=done))
        except ConditionFailedError as refused:
            # By the handler's own transaction, or by this call when its answer was lost.
            return refused.item is not None and refused.item["token"] == claim.token
        return True

    def completion(self, claim: Claim, attempt: Attempt, *, done: bool = True) -> Update:
        """The write that ends the claim: a handler may put it into a transaction of its own."""
        history = [*claim.history, attempt][-MAX_HISTORY:]
        return Update(
            _key(claim.consumer, claim.key),
            Expression(
                "#token = :token AND #status = :running",
                update="SET #status = :status, history = :history, lease_until = :none",
                names=_NAMES,
                values={
                    ":token": claim.token,
                    ":running": _RUNNING,
                    ":status": _DONE if done else _RELEASED,
                    ":history": _to_text(history),
                    ":none": 0,
                },
            ),
        )

    async def look(self, consumer: str, key: str) -> Free | Done | Held:
        """See `consumption.Claims`."""
        item = await self._table.get(_key(consumer, key))
        if item is None:
            return Free()
        now = self._clock()
        if item["status"] == _DONE:
            return _done(item)
        if item["status"] == _RUNNING:
            if _until(item) > now:
                return Held(until=_until(item))
            return Free(history=_with_interrupted(item, now))
        return Free(history=_history(item))

    def _first(self, wanted: Claim, now: datetime) -> Update:
        """Takes what nobody has."""
        return self._taking(
            wanted,
            now,
            "attribute_not_exists(pk) OR #status = :released",
            {":released": _RELEASED},
        )

    async def _take_over(self, wanted: Claim, found: Item, now: datetime) -> Claim | Done | Held:
        if found["status"] == _DONE:
            return _done(found)
        if found["status"] == _RUNNING and _until(found) > now:
            return Held(until=_until(found))
        # What its process did not come to store is stored by whoever comes after it.
        history = _with_interrupted(found, now)
        update = self._taking(
            wanted,
            now,
            "#token = :previous AND #status = :running",
            {":previous": found["token"], ":history": _to_text(history)},
            "history = :history",
        )
        try:
            item = await self._table.update(update)
        except ConditionFailedError as refused:
            if refused.item is not None and refused.item["token"] == wanted.token:
                return _taken(wanted, refused.item)
            return Held(until=now + self._lease)
        return _taken(wanted, item)

    def _taking(
        self,
        wanted: Claim,
        now: datetime,
        condition: str,
        values: dict[str, str | int | bool | bytes | None],
        *more: str,
    ) -> Update:
        assignments = ", ".join(
            (
                "#status = :running",
                "#token = :token",
                "lease_until = :lease",
                "attempts = if_not_exists(attempts, :zero) + :one",
                "message_id = :message",
                "started_at = :now",
                "expires_at = :expiry",
                *more,
            )
        )
        return Update(
            _key(wanted.consumer, wanted.key),
            Expression(
                condition,
                update=f"SET {assignments}",
                names=_NAMES,
                values={
                    ":running": _RUNNING,
                    ":token": wanted.token,
                    ":lease": int((now + self._lease).timestamp()),
                    ":zero": 0,
                    ":one": 1,
                    ":message": wanted.message_id,
                    ":now": to_text(now),
                    ":expiry": int((now + self._kept).timestamp()),
                    **values,
                },
            ),
        )


def _key(consumer: str, key: str) -> Key:
    return {"pk": f"{PK_PREFIX}{consumer}", "sk": key}


def _taken(wanted: Claim, item: Item) -> Claim:
    return replace(wanted, attempt=cast("int", item["attempts"]), history=tuple(_history(item)))


def _done(item: Item) -> Done:
    return Done(message_id=str(item["message_id"]), history=tuple(_history(item)))


def _until(item: Item) -> datetime:
    return datetime.fromtimestamp(cast("int", item["lease_until"]), UTC)


def _with_interrupted(item: Item, now: datetime) -> list[Attempt]:
    began = from_text(str(item["started_at"]))
    lost = Attempt(
        attempt=cast("int", item["attempts"]),
        outcome="failed",
        error=INTERRUPTED,
        started_at=began,
        duration_ms=max(round((now - began).total_seconds() * 1000), 0),
    )
    return [*_history(item), lost][-MAX_HISTORY:]


def _history(item: Item) -> list[Attempt]:
    return [
        Attempt(
            attempt=told["attempt"],
            outcome=cast("Outcome", told["outcome"]),
            error=told["error"],
            started_at=from_text(told["started_at"]),
            duration_ms=told["duration_ms"],
        )
        for told in json.loads(str(item.get("history") or "[]"))
    ]


def _to_text(history: Sequence[Attempt]) -> str:
    return json.dumps(
        [
            {
                "attempt": made.attempt,
                "outcome": made.outcome,
                "error": made.error,
                "started_at": to_text(made.started_at),
                "duration_ms": made.duration_ms,
            }
            for made in history
        ],
        separators=(",", ":"),
    )
