"""Budgets in the service's table. See `keys` for the items.

| access pattern                  | operation                                                     |
| ------------------------------- | ------------------------------------------------------------- |
| the budgets of a call's scopes  | BatchGetItem of three keys, consistent                        |
| set, remove a budget            | UpdateItem; DeleteItem if it is there                         |
| counters of a scope             | BatchGetItem, consistent                                      |
| reserve                         | TransactWriteItems: each scope's day and month counter if     |
|                                 | there is room, one hold per scope                             |
| settle, release                 | TransactWriteItems (a part of the turn's): the hold goes if   |
|                                 | it is there, both counters move                               |
| what crashed holders left       | Query on the scope's holds, by their expiry                   |

DynamoDB compares an attribute with a value and cannot add two: hence `committed`, which is what
was spent and what is reserved in one number. A hold is not left to the table's TTL, which would
remove it and not give back its amount; `expires_at` is set to when its counters are gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from functions.ai.adapters import keys
from functions.ai.domain.budgets import (
    Budget,
    BudgetSettlement,
    Counter,
    Hold,
    Move,
    Period,
    Scope,
)
from functions.ai.domain.money_ports import Claim, Obstacle
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import (
    NEW,
    THERE,
    ConditionFailedError,
    Delete,
    DynamoTable,
    Expression,
    Item,
    Key,
    Put,
    TransactionRefusedError,
    Update,
    Value,
    Write,
)

_EXPIRED_PAGE = 25
_KEPT = timedelta(days=3)
"""After the end of its period a counter is of no use but to whoever looks for a mistake."""


def settlement_writes(settlement: BudgetSettlement) -> list[Write]:
    """The part of a transaction that ends holds and moves counters.

    The holds come first: one of them is refused when it expired and was freed (`refreshed`).
    """
    return [
        *(Delete(_hold_key(hold), THERE) for hold in settlement.holds),
        *(_move(move) for move in settlement.moves),
    ]


class DynamoBudgets:
    """`money_ports.BudgetStore` on DynamoDB."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def budgets(self, scopes: Sequence[Scope]) -> list[Budget]:
        """See `money_ports.BudgetStore`."""
        items = await self._table.get_batch([keys.budget_key(scope.name) for scope in scopes])
        return [_budget_from(item) for item in items]

    async def save(self, budget: Budget) -> Budget:
        """See `money_ports.BudgetStore`."""
        fields = {
            "project_id": budget.scope.project_id,
            "user_id": budget.scope.user_id,
            "daily_limit": budget.daily_limit,
            "monthly_limit": budget.monthly_limit,
            "updated_at": to_text(budget.updated_at),
        }
        sets = [f"{name} = :{name}" for name in fields]
        expression = Expression(
            "attribute_not_exists(pk) OR sk = :sk",
            update=f"SET {', '.join(sets)}, created_at = if_not_exists(created_at, :created_at)",
            values={
                **{f":{name}": value for name, value in fields.items()},
                ":created_at": to_text(budget.created_at),
                ":sk": keys.budget_key(budget.scope.name)["sk"],
            },
        )
        item = await self._table.update(Update(keys.budget_key(budget.scope.name), expression))
        return _budget_from(item)

    async def remove(self, scope: Scope) -> bool:
        """See `money_ports.BudgetStore`."""
        try:
            await self._table.delete(keys.budget_key(scope.name), THERE)
        except ConditionFailedError:
            return False
        return True

    async def counters(self, scope: Scope, periods: Sequence[Period]) -> list[Counter | None]:
        """See `money_ports.BudgetStore`."""
        wanted = [_counter_key(scope, period) for period in periods]
        found = {str(item["sk"]): item for item in await self._table.get_batch(wanted)}
        return [_counter_from(found.get(key["sk"])) for key in wanted]

    async def seed(
        self, scope: Scope, period: Period, found: Counter | None, spent: int, at: datetime
    ) -> bool:
        """See `money_ports.BudgetStore`."""
        values: dict[str, Value] = {
            ":spent": spent,
            ":more": spent - (found.spent if found else 0),
            ":zero": 0,
            ":at": to_text(at),
            ":expiry": _expiry(period),
        }
        condition = "attribute_not_exists(pk)"
        if found is not None:
            condition = "spent = :found"
            values[":found"] = found.spent
        expression = Expression(
            condition,
            update="SET committed = if_not_exists(committed, :zero) + :more, spent = :spent,"
            " seeded_at = :at, expires_at = :expiry",
            values=values,
        )
        try:
            await self._table.update(Update(_counter_key(scope, period), expression))
        except ConditionFailedError:
            return False
        return True

    async def hold(self, claims: Sequence[Claim]) -> list[Obstacle]:
        """See `money_ports.BudgetStore`."""
        places = [(claim, period) for claim in claims for period in claim.hold.periods]
        writes: list[Write] = [_reservation(claim, period) for claim, period in places]
        writes += [Put(_hold_item(claim.hold), NEW) for claim in claims]
        try:
            # After a conflict the counters are others: the caller decides whether there is time.
            await self._table.transact(writes, attempts=1)
        except TransactionRefusedError as refused:
            in_the_way = [places[n] for n in sorted(refused.failed) if n < len(places)]
            return await asyncio.gather(*(self._obstacle(c, p) for c, p in in_the_way))
        return []

    async def expired(self, scope: Scope, now: datetime) -> list[Hold]:
        """See `money_ports.BudgetStore`."""
        first, last = keys.expired_holds(int(now.timestamp()))
        page = await self._table.query(
            "pk = :pk AND sk BETWEEN :first AND :last",
            {":pk": keys.budget_pk(scope.name), ":first": first, ":last": last},
            limit=_EXPIRED_PAGE,
        )
        return [_hold_from(scope, item) for item in page.items]

    async def settle(self, settlement: BudgetSettlement) -> bool:
        """See `money_ports.BudgetStore`."""
        try:
            await self._table.transact(settlement_writes(settlement))
        except TransactionRefusedError:
            return False
        return True

    async def held(self, holds: Sequence[Hold]) -> list[Hold]:
        """See `money_ports.BudgetStore`."""
        if not holds:
            return []
        items = await self._table.get_batch([_hold_key(hold) for hold in holds])
        there = {(item["pk"], item["sk"]) for item in items}
        return [hold for hold in holds if tuple(_hold_key(hold).values()) in there]

    async def _obstacle(self, claim: Claim, period: Period) -> Obstacle:
        # Read anew: what the refusal tells may lie behind what others did meanwhile.
        (counter,) = await self.counters(claim.budget.scope, [period])
        return Obstacle(claim, period, counter)


def _reservation(claim: Claim, period: Period) -> Update:
    """Adds to a counter that was seeded, if the sum is within the limit."""
    condition = "seeded_at >= :fresh"
    values: dict[str, Value] = {":fresh": to_text(claim.fresh), ":amount": claim.hold.amount}
    limit = claim.budget.limit(period)
    if limit is not None:
        condition += " AND committed <= :room"
        values[":room"] = limit - claim.hold.amount
    return Update(
        _counter_key(claim.budget.scope, period),
        Expression(condition, update="ADD committed :amount", values=values),
    )


def _move(move: Move) -> Update:
    """Adds to a counter, also where it was not seeded: seeding finds what it missed."""
    return Update(
        _counter_key(move.scope, move.period),
        Expression(
            "attribute_not_exists(pk) OR attribute_exists(spent)",
            update="SET expires_at = :expiry ADD committed :committed, spent :spent",
            values={
                ":committed": move.committed,
                ":spent": move.spent,
                ":expiry": _expiry(move.period),
            },
        ),
    )


def _counter_key(scope: Scope, period: Period) -> Key:
    return keys.counter_key(scope.name, period.kind, period.name)


def _hold_key(hold: Hold) -> Key:
    return keys.hold_key(hold.scope.name, hold.expires_at, hold.turn_id, hold.attempt)


def _hold_item(hold: Hold) -> Item:
    return {
        **_hold_key(hold),
        "turn_id": hold.turn_id,
        "attempt": hold.attempt,
        "amount": hold.amount,
        "at": to_text(hold.at),
        "lapses_at": hold.expires_at,
        "expires_at": max(_expiry(period) for period in hold.periods),
    }


def _hold_from(scope: Scope, item: Mapping[str, Any]) -> Hold:
    return Hold(
        scope=scope,
        turn_id=item["turn_id"],
        attempt=item["attempt"],
        amount=item["amount"],
        at=from_text(item["at"]),
        expires_at=item["lapses_at"],
    )


def _budget_from(item: Mapping[str, Any]) -> Budget:
    return Budget(
        scope=Scope(item["project_id"], item["user_id"]),
        daily_limit=item["daily_limit"],
        monthly_limit=item["monthly_limit"],
        created_at=from_text(item["created_at"]),
        updated_at=from_text(item["updated_at"]),
    )


def _counter_from(item: Mapping[str, Any] | None) -> Counter | None:
    if item is None:
        return None
    seeded_at = item.get("seeded_at")
    return Counter(
        committed=item["committed"],
        spent=item["spent"],
        seeded_at=from_text(seeded_at) if seeded_at else None,
    )


def _expiry(period: Period) -> int:
    return int((period.end + _KEPT).timestamp())
