"""Events in DynamoDB; `event_items` tells their items."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from functions.messaging.adapters.event_items import (
    EVENT_SK,
    HEAD_SK,
    UNPUBLISHED_SHARDS,
    correlation_pk,
    entry_item,
    event_from,
    event_item,
    event_key,
    head_expiry,
    keylog_pk,
    unpublished_pk,
)
from functions.messaging.domain.events import Event
from functions.messaging.domain.ports import EventPage
from servicekit.backoff import full_jitter
from servicekit.clock import to_text
from servicekit.dynamodb import (
    ConditionFailedError,
    DynamoTable,
    Expression,
    Item,
    Put,
    TransactionRefusedError,
    Update,
)
from servicekit.errors import StoreUnavailableError
from servicekit.paging import InvalidCursorError, decode_cursor, encode_cursor

_BY_CORRELATION = "gsi1"
_UNPUBLISHED = "gsi2"
_NEW = Expression("attribute_not_exists(pk)")
_DRAWS = 40
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5


class DynamoEvents:
    """`ports.EventStore`."""

    def __init__(self, table: DynamoTable, retention_days: int) -> None:
        self._table = table
        self._kept = timedelta(days=retention_days)

    async def accept(self, event: Event) -> Event | None:
        """See `EventStore`."""
        if event.ordering_key is not None:
            return await self._accept_in_order(event, event.ordering_key)
        try:
            await self._table.put(Put(event_item(event, self._kept), _NEW))
        except ConditionFailedError as failure:
            return event_from(failure.item) if failure.item else await self._stored(event)
        return None

    async def get(self, event_id: str) -> Event | None:
        """See `EventStore`."""
        item = await self._table.get(event_key(event_id))
        return event_from(item) if item else None

    async def mark_published(self, event_ids: Sequence[str], at: datetime) -> None:
        """See `EventStore`."""
        await asyncio.gather(*(self._mark(event_id, at) for event_id in event_ids))

    async def unpublished(self, before: datetime, limit: int) -> list[Event]:
        """See `EventStore`."""
        found = await asyncio.gather(
            *(self._unpublished(shard, before, limit) for shard in range(UNPUBLISHED_SHARDS))
        )
        items = sorted((item for shard in found for item in shard), key=lambda i: str(i["gsi2sk"]))
        return [event_from(item) for item in items[:limit]]

    async def chain(self, correlation_id: str, limit: int, cursor: str | None) -> EventPage:
        """See `EventStore`."""
        pk = correlation_pk(correlation_id)
        start = _start(pk, decode_cursor(cursor, pk)) if cursor else None
        items: list[Item] = []
        # Events are large: a page of DynamoDB, 1 MB, may hold a handful.
        while len(items) < limit:
            page = await self._table.query(
                "gsi1pk = :pk",
                {":pk": pk},
                index=_BY_CORRELATION,
                limit=limit - len(items),
                start=start,
            )
            items += page.items
            start = page.last_key
            if start is None:
                break
        more = encode_cursor(str(start["gsi1sk"]), pk) if start else None
        return EventPage([event_from(item) for item in items], more)

    async def _accept_in_order(self, event: Event, key: str) -> Event | None:
        """Draws the next sequence in the transaction that stores the event: no number is lost."""
        head = {"pk": keylog_pk(key), "sk": HEAD_SK}
        found = await self._table.get(head)
        last = _last(found)
        for attempt in range(_DRAWS):
            try:
                await self._table.transact(self._writes(event, head, last))
            except TransactionRefusedError as refusal:
                if 0 in refusal.failed:
                    return await self._stored(event)
                last = _last(refusal.items.get(1) or await self._table.get(head))
            else:
                return None
            pause = full_jitter(attempt, _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)
        raise StoreUnavailableError(retry_after=1)

    def _writes(self, event: Event, head: dict[str, str], last: int) -> list[Put | Update]:
        sequence = last + 1
        numbered = replace(event, ordering_sequence=sequence)
        unchanged = "#last = :last" if last else "attribute_not_exists(#last)"
        values: Item = {":next": sequence, ":expiry": head_expiry(event, self._kept)}
        return [
            Put(event_item(numbered, self._kept), _NEW),
            Update(
                head,
                Expression(
                    unchanged,
                    update="SET #last = :next, expires_at = :expiry",
                    names={"#last": "last"},
                    values=values | ({":last": last} if last else {}),
                ),
            ),
            Put(entry_item(event, sequence, self._kept), _NEW),
        ]

    async def _stored(self, event: Event) -> Event:
        found = await self.get(event.event_id)
        if found is None:
            # It expired between the two calls.
            raise StoreUnavailableError(retry_after=1)
        return found

    async def _mark(self, event_id: str, at: datetime) -> None:
        update = Update(
            event_key(event_id),
            Expression(
                "attribute_exists(pk) AND attribute_not_exists(published_at)",
                update="SET published_at = :at REMOVE gsi2pk, gsi2sk",
                values={":at": to_text(at)},
            ),
        )
        try:
            await self._table.change(update)
        except ConditionFailedError:
            return

    async def _unpublished(self, shard: int, before: datetime, limit: int) -> list[Item]:
        items: list[Item] = []
        start = None
        while len(items) < limit:
            page = await self._table.query(
                "gsi2pk = :pk AND gsi2sk < :before",
                {":pk": unpublished_pk(shard), ":before": to_text(before)},
                index=_UNPUBLISHED,
                limit=limit - len(items),
                start=start,
            )
            items += page.items
            start = page.last_key
            if start is None:
                break
        return items


def _last(head: Item | None) -> int:
    last = head.get("last") if head else None
    return last if isinstance(last, int) else 0


def _start(pk: str, position: str) -> Item:
    """What a page begins after."""
    event_id = position.partition("#")[2]
    if not event_id:
        raise InvalidCursorError
    return {**event_key(event_id), "sk": EVENT_SK, "gsi1pk": pk, "gsi1sk": position}
