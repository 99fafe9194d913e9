"""The order of events: the logs of ordering keys, which accepting writes, and the cursors in them.

| pk                         | sk         | attributes                        | who writes |
|----------------------------|------------|-----------------------------------|------------|
| KEYLOG#<ordering key>      | <sequence> | event_id, event_type, accepted_at | accepting  |
| ORDER#<subscription>#<key> | CURSOR     | position, expires_at              | this       |
"""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from functions.messaging.domain.webhook_ports import KeyedEvent
from servicekit.clock import Clock, from_text
from servicekit.dynamodb import ConditionFailedError, DynamoTable, Expression, Key, Update

LOG_PREFIX = "KEYLOG#"
CURSOR_PREFIX = "ORDER#"

_DIGITS = 16


def log_sk(sequence: int) -> str:
    """The sort key of an entry."""
    return f"{sequence:0{_DIGITS}}"


class DynamoKeyLog:
    """`webhook_ports.KeyLog`."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def after(self, ordering_key: str, sequence: int, limit: int) -> list[KeyedEvent]:
        """See `KeyLog`."""
        # The log's head lies behind all digits.
        page = await self._table.query(
            "pk = :pk AND sk BETWEEN :first AND :last",
            {
                ":pk": f"{LOG_PREFIX}{ordering_key}",
                ":first": log_sk(sequence + 1),
                ":last": "9" * _DIGITS,
            },
            limit=limit,
        )
        return [
            KeyedEvent(
                int(str(item["sk"])),
                str(item["event_id"]),
                str(item["event_type"]),
                from_text(str(item["accepted_at"])),
            )
            for item in page.items
        ]


class DynamoCursors:
    """`webhook_ports.Cursors`."""

    def __init__(self, table: DynamoTable, clock: Clock, retention_days: int) -> None:
        self._table = table
        self._clock = clock
        # Longer than what it points into.
        self._kept = timedelta(days=2 * retention_days)

    async def position(self, subscription_id: str, ordering_key: str) -> int:
        """See `Cursors`."""
        item = await self._table.get(_key(subscription_id, ordering_key))
        return cast("int", item["position"]) if item else 0

    async def advance(
        self, subscription_id: str, ordering_key: str, before: int, after: int
    ) -> bool:
        """See `Cursors`."""
        moved = Expression(
            "#position = :before" if before else "attribute_not_exists(pk)",
            update="SET #position = :after, expires_at = :expires_at",
            names={"#position": "position"},
            values={
                **({":before": before} if before else {}),
                ":after": after,
                ":expires_at": int((self._clock() + self._kept).timestamp()),
            },
        )
        try:
            await self._table.update(Update(_key(subscription_id, ordering_key), moved))
        except ConditionFailedError as failure:
            # The SDK repeats a call whose answer was lost: it may have been this very one.
            return failure.item is not None and failure.item["position"] == after
        return True


def _key(subscription_id: str, ordering_key: str) -> Key:
    return {"pk": f"{CURSOR_PREFIX}{subscription_id}#{ordering_key}", "sk": "CURSOR"}
