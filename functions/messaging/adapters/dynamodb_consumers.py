"""Consumers that reported attempts, in the service's table.

| pk        | sk                  | attributes                               |
|-----------|---------------------|------------------------------------------|
| CONSUMERS | <stream>#<consumer> | last_seen_at, expires_at                 |
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from functions.messaging.domain.deliveries import KnownConsumer
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import DynamoTable, Item

PK = "CONSUMERS"

NOTED_EVERY = timedelta(hours=1)
"""By each process, so that reports need not write it each time."""


class DynamoConsumers:
    """`deliveries.ConsumerRegistry`."""

    def __init__(self, table: DynamoTable, retention_days: int) -> None:
        self._table = table
        self._kept = timedelta(days=retention_days)
        self._noted: dict[tuple[str, str], datetime] = {}

    async def seen(self, consumers: Sequence[KnownConsumer]) -> None:
        """See `ConsumerRegistry`."""
        due = [one for one in consumers if self._is_due(one)]
        if not due:
            return
        await self._table.write_batch(puts=[self._item(one) for one in due])
        self._noted.update({(one.stream, one.name): one.last_seen_at for one in due})

    async def all(self) -> list[KnownConsumer]:
        """See `ConsumerRegistry`."""
        found: list[KnownConsumer] = []
        start = None
        while True:
            page = await self._table.query("pk = :pk", {":pk": PK}, start=start)
            for item in page.items:
                stream, _, name = str(item["sk"]).partition("#")
                found.append(KnownConsumer(stream, name, from_text(str(item["last_seen_at"]))))
            start = page.last_key
            if not start:
                return found

    def _is_due(self, one: KnownConsumer) -> bool:
        noted = self._noted.get((one.stream, one.name))
        return noted is None or one.last_seen_at - noted >= NOTED_EVERY

    def _item(self, one: KnownConsumer) -> Item:
        return {
            "pk": PK,
            "sk": f"{one.stream}#{one.name}",
            "last_seen_at": to_text(one.last_seen_at),
            "expires_at": int((one.last_seen_at + self._kept).timestamp()),
        }
