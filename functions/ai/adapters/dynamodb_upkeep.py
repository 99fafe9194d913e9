"""What is left to do, by gsi3: an index of what waits for a day or an hour. See `keys`.

| access pattern                | operation                                                     |
| ----------------------------- | ------------------------------------------------------------- |
| sessions not used since a day | Query on gsi3 in each shard, oldest first                     |
| hide one of them              | UpdateItem, if it was not used meanwhile                      |
| jobs queued before a time     | Query on gsi3, oldest first                                   |
| put off one of them           | UpdateItem, if the same attempt is queued                     |
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import date, datetime

from functions.ai.adapters import keys
from functions.ai.adapters.dynamodb import hiding
from functions.ai.adapters.session_items import session_from
from functions.ai.domain.models import Session
from functions.ai.domain.turns import Turn
from servicekit.clock import to_text
from servicekit.dynamodb import ConditionFailedError, DynamoTable, Expression, Item, Update

_PAGE = 10


class DynamoUpkeep:
    """`upkeep_ports.UpkeepStore` on DynamoDB."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def unused_since(self, day: date | None) -> AsyncIterator[Sequence[str]]:
        """See `upkeep_ports.OldSessions`."""
        for partition in keys.use_pks():
            async for page in self._before(partition, keys.before_use(day)):
                yield page

    async def hide_unused(self, session_id: str, day: date | None) -> Session | None:
        """See `upkeep_ports.OldSessions`."""
        hide = hiding(
            session_id,
            "attribute_exists(pk) AND (attribute_exists(deleted_at) OR gsi3sk < :before)",
            {":before": keys.before_use(day)},
        )
        try:
            item = await self._table.update(Update(keys.session_key(session_id), hide))
        except ConditionFailedError:
            return None
        return session_from(item)

    def queued_before(self, at: datetime) -> AsyncIterator[Sequence[str]]:
        """See `upkeep_ports.WaitingJobs`."""
        return self._before(keys.QUEUED_PK, keys.queued_sk(to_text(at), ""))

    async def put_off(self, turn: Turn, at: datetime) -> None:
        """See `upkeep_ports.WaitingJobs`."""
        put_off = Expression(
            "attempt = :attempt AND #status = :queued",
            update="SET gsi3sk = :since",
            names={"#status": "status"},
            values={
                ":attempt": turn.attempt,
                ":queued": "queued",
                ":since": keys.queued_sk(to_text(at), turn.turn_id),
            },
        )
        with suppress(ConditionFailedError):
            await self._table.update(Update(keys.turn_key(turn.turn_id), put_off))

    async def _before(self, partition: str, bound: str) -> AsyncIterator[Sequence[str]]:
        """Ids of what stands there below the bound, page by page."""
        start: Item | None = None
        while True:
            page = await self._table.query(
                "gsi3pk = :pk AND gsi3sk < :bound",
                {":pk": partition, ":bound": bound},
                index="gsi3",
                limit=_PAGE,
                start=start,
            )
            if page.items:
                yield [keys.id_of_listing(str(item["gsi3sk"])) for item in page.items]
            start = page.last_key
            if start is None:
                return
