"""Tickets in the service's table.

| pk                | sk     | attributes                                                          |
|-------------------|--------|---------------------------------------------------------------------|
| TICKET#<sha256>   | TICKET | topics (JSON), user_id, valid_until (milliseconds since 1970),      |
|                   |        | used_by (the connection), expires_at                                |

It is used up by `DynamoConnections.open`. The table's TTL removes it some time after it is of no
use: whether it is good is told by the clock.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import cast

from functions.messaging.domain.tickets import Ticket
from servicekit.dynamodb import ConditionFailedError, DynamoTable, Expression, Item, Key, Put
from servicekit.errors import StoreUnavailableError

SK = "TICKET"
# For whoever asks what became of it.
_KEPT = timedelta(hours=1)


def ticket_key(digest: str) -> Key:
    """Of a ticket's item."""
    return {"pk": f"TICKET#{digest}", "sk": SK}


def milliseconds(moment: datetime) -> int:
    """Since 1970: numbers that conditions can compare."""
    return int(moment.timestamp() * 1000)


class DynamoTickets:
    """`tickets.TicketStore`."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def add(self, ticket: Ticket) -> None:
        """See `TicketStore`."""
        item: Item = {
            **ticket_key(ticket.digest),
            "topics": json.dumps(list(ticket.topics)),
            "user_id": ticket.user_id,
            "valid_until": milliseconds(ticket.valid_until),
            "expires_at": int((ticket.valid_until + _KEPT).timestamp()),
        }
        try:
            await self._table.put(Put(item, Expression("attribute_not_exists(pk)")))
        except ConditionFailedError as failure:
            # The SDK repeats a call whose answer was lost: then it is this very one.
            if failure.item != item:
                raise StoreUnavailableError(retry_after=1) from None

    async def find(self, digest: str) -> Ticket | None:
        """See `TicketStore`."""
        item = await self._table.get(ticket_key(digest))
        if item is None:
            return None
        return Ticket(
            digest=digest,
            topics=json.loads(str(item["topics"])),
            user_id=cast("int | None", item["user_id"]),
            valid_until=datetime.fromtimestamp(cast("int", item["valid_until"]) / 1000, UTC),
            used="used_by" in item,
        )
