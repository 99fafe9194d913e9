"""Moments of events' lives, as items beside their event.

| pk          | sk           | attributes                                        |
|-------------|--------------|---------------------------------------------------|
| EVENT#<id>  | LIFE#<key>   | kind, at, consumer, attempt, details, expires_at  |
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import cast

from functions.messaging.domain.life import Kind, Moment
from servicekit.clock import Clock, from_text, to_text
from servicekit.dynamodb import DynamoTable, Item

PREFIX = "LIFE#"


def event_pk(event_id: str) -> str:
    """The partition of an event and all that happened to it."""
    return f"EVENT#{event_id}"


class DynamoLife:
    """`life.LifeStore`."""

    def __init__(self, table: DynamoTable, clock: Clock, retention_days: int) -> None:
        self._table = table
        self._clock = clock
        self._kept = timedelta(days=retention_days)

    async def append(self, moments: Mapping[str, Sequence[Moment]]) -> None:
        """See `LifeStore`."""
        expires_at = int((self._clock() + self._kept).timestamp())
        # Of two with one key the later one counts, and a batch may hold a key once.
        puts = {
            (event_id, moment.key): _item(event_id, moment, expires_at)
            for event_id, told in moments.items()
            for moment in told
        }
        await self._table.write_batch(puts=list(puts.values()))

    async def of(self, event_id: str) -> list[Moment]:
        """See `LifeStore`."""
        moments: list[Moment] = []
        start = None
        while True:
            page = await self._table.query(
                "pk = :pk AND begins_with(sk, :life)",
                {":pk": event_pk(event_id), ":life": PREFIX},
                start=start,
            )
            moments += [_moment(item) for item in page.items]
            start = page.last_key
            if not start:
                return sorted(moments, key=lambda moment: (moment.at, moment.key))


def _item(event_id: str, moment: Moment, expires_at: int) -> Item:
    return {
        "pk": event_pk(event_id),
        "sk": f"{PREFIX}{moment.key}",
        "kind": moment.kind,
        "at": to_text(moment.at),
        "consumer": moment.consumer,
        "attempt": moment.attempt,
        "details": json.dumps(moment.details),
        "expires_at": expires_at,
    }


def _moment(item: Item) -> Moment:
    return Moment(
        key=str(item["sk"]).removeprefix(PREFIX),
        kind=cast("Kind", item["kind"]),
        at=from_text(str(item["at"])),
        consumer=str(item["consumer"]),
        attempt=cast("int | None", item.get("attempt")),
        details=json.loads(str(item["details"])),
    )
