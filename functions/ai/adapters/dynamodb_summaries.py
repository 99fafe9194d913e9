"""Summaries of sessions, in the table of the sessions. See `keys` for the items.

| access pattern         | operation                                                            |
| ---------------------- | -------------------------------------------------------------------- |
| a session's summary    | GetItem, consistent                                                  |
| take, leave a session  | UpdateItem of the session: its lease                                 |
| keep a summary         | TransactWriteItems: usage, budgets, session (its lease), summary if  |
|                        | it tells of more than the one that is there                          |
| pay for none           | TransactWriteItems: usage, budgets                                   |

The lease lies on the session, so that a session which is gone can neither be taken nor be left a
summary behind. `DynamoSessions.delete` removes the summary.
"""

from __future__ import annotations

from typing import Any

from functions.ai.adapters import keys
from functions.ai.adapters.bills import behind, bill_writes
from functions.ai.adapters.dynamodb import VISIBLE
from functions.ai.domain.errors import HoldsExpiredError, SessionNotFoundError
from functions.ai.domain.summaries import Summary
from functions.ai.domain.turns import Bill
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import (
    ConditionFailedError,
    DynamoTable,
    Expression,
    Item,
    Put,
    TransactionRefusedError,
    Update,
)


class DynamoSummaries:
    """`summary_ports.SummaryStore` on DynamoDB."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def summary(self, session_id: str) -> Summary | None:
        """See `summary_ports.SummaryStore`."""
        item: Any = await self._table.get(keys.summary_key(session_id))
        if item is None:
            return None
        return Summary(item["text"], item["up_to"], from_text(item["created_at"]))

    async def take(self, session_id: str, now: int, lease: int) -> int | None:
        """See `summary_ports.SummaryStore`."""
        take = Expression(
            f"{VISIBLE} AND (attribute_not_exists(summary_lease) OR summary_lease <= :now)",
            update="SET summary_lease = :lease",
            values={":now": now, ":lease": lease},
        )
        try:
            await self._table.update(Update(keys.session_key(session_id), take))
        except ConditionFailedError as failure:
            if failure.item is None or "deleted_at" in failure.item:
                raise SessionNotFoundError from None
            taken: Any = failure.item["summary_lease"]
            return int(taken)
        return None

    async def leave(self, session_id: str, lease: int) -> None:
        """See `summary_ports.SummaryStore`."""
        leave = Expression(
            "summary_lease = :lease", update="REMOVE summary_lease", values={":lease": lease}
        )
        try:
            await self._table.update(Update(keys.session_key(session_id), leave))
        except ConditionFailedError:
            return  # another has it since, or it is gone

    async def keep(self, session_id: str, summary: Summary, bill: Bill, lease: int) -> bool:
        """See `summary_ports.SummaryStore`."""
        money = bill_writes(bill)
        mine = Expression(
            f"{VISIBLE} AND summary_lease = :lease",
            # What is there already: a check would need a permission of its own.
            update="SET summary_lease = :lease",
            values={":lease": lease},
        )
        item: Item = {
            **keys.summary_key(session_id),
            "text": summary.text,
            "up_to": summary.up_to,
            "created_at": to_text(summary.created_at),
        }
        less = Expression(
            "attribute_not_exists(pk) OR up_to < :up_to", values={":up_to": summary.up_to}
        )
        try:
            await self._table.transact(
                [*money, Update(keys.session_key(session_id), mine), Put(item, less)]
            )
        except TransactionRefusedError as refused:
            behind(refused, len(money))
            await self.pay(bill)
            return False
        return True

    async def pay(self, bill: Bill) -> None:
        """See `summary_ports.SummaryStore`."""
        money = bill_writes(bill)
        if not money:
            return
        try:
            await self._table.transact(money)
        except TransactionRefusedError:
            raise HoldsExpiredError from None
