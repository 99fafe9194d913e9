"""Who calls an endpoint at the moment, and how it did: one item for each subscription.

| pk             | sk       | attributes                                                    |
|----------------|----------|---------------------------------------------------------------|
| ENDPOINT#<id>  | ENDPOINT | for each slot that was used: s<nn> until when, h<nn> by whom;  |
|                |          | failing_since, dead, expires_at                               |
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import cast

from functions.messaging.domain.webhook_ports import Health, Outcome
from servicekit.clock import Clock, from_text, to_text
from servicekit.dynamodb import (
    ConditionFailedError,
    DynamoTable,
    Expression,
    Item,
    Key,
    Update,
    Value,
)

PREFIX = "ENDPOINT#"

_TRIES = 4


class DynamoEndpoints:
    """`webhook_ports.EndpointStore`."""

    def __init__(self, table: DynamoTable, clock: Clock, retention_days: int) -> None:
        self._table = table
        self._clock = clock
        self._kept = timedelta(days=retention_days)
        # Which slot each holder of this process has.
        self._held: dict[str, int] = {}

    async def take(self, subscription_id: str, limit: int, holder: str, until: datetime) -> bool:
        """See `EndpointStore`."""
        item: Item = await self._table.get(_key(subscription_id)) or {}
        for _ in range(_TRIES):
            now = to_text(self._clock())
            free = [n for n in range(limit) if str(item.get(f"s{n:02}") or "") <= now]
            if not free:
                return False
            # Any of them: rivals that read the same item go different ways.
            slot = random.choice(free)  # noqa: S311
            try:
                await self._table.update(
                    Update(_key(subscription_id), self._taken(slot, holder, now, until))
                )
            except ConditionFailedError as failure:
                item = failure.item or {}
                if item.get(f"h{slot:02}") != holder:
                    continue
            self._held[holder] = slot
            return True
        return False

    async def release(
        self, subscription_id: str, holder: str, outcome: Outcome | None, now: datetime
    ) -> Health:
        """See `EndpointStore`."""
        slot = self._held.pop(holder)
        sets, values = _counted(outcome, now)
        removes = [f"s{slot:02}", f"h{slot:02}"]
        removes += ["failing_since"] if outcome == "delivered" else []
        mine = self._expression(
            f"h{slot:02} = :holder", sets, removes, {**values, ":holder": holder}
        )
        try:
            item = await self._table.update(Update(_key(subscription_id), mine))
        except ConditionFailedError:
            # It took longer than the lease: the slot is another's, or this write came twice.
            removes = removes[2:]
            anyhow = self._expression("attribute_exists(pk)", sets, removes, values)
            try:
                item = await self._table.update(Update(_key(subscription_id), anyhow))
            except ConditionFailedError:
                return Health(None, 0)
        return _health(item)

    async def forget(self, subscription_id: str) -> None:
        """See `EndpointStore`."""
        forgotten = self._expression(
            "attribute_exists(pk)", ["dead = :none"], ["failing_since"], {":none": 0}
        )
        try:
            await self._table.update(Update(_key(subscription_id), forgotten))
        except ConditionFailedError:
            return

    def _taken(self, slot: int, holder: str, now: str, until: datetime) -> Expression:
        name = f"{slot:02}"
        return self._expression(
            f"attribute_not_exists(s{name}) OR s{name} <= :now",
            [f"s{name} = :until", f"h{name} = :holder"],
            [],
            {":now": now, ":until": to_text(until), ":holder": holder},
        )

    def _expression(
        self, condition: str, sets: list[str], removes: list[str], values: dict[str, Value]
    ) -> Expression:
        expires_at = int((self._clock() + self._kept).timestamp())
        update = f"SET {', '.join([*sets, 'expires_at = :expires_at'])}"
        if removes:
            update += f" REMOVE {', '.join(removes)}"
        return Expression(condition, update=update, values={**values, ":expires_at": expires_at})


def _counted(outcome: Outcome | None, now: datetime) -> tuple[list[str], dict[str, Value]]:
    if outcome is None:
        return [], {}
    if outcome == "delivered":
        return ["dead = :none"], {":none": 0}
    sets = ["failing_since = if_not_exists(failing_since, :now)"]
    values: dict[str, Value] = {":now": to_text(now)}
    if outcome == "dead":
        sets.append("dead = if_not_exists(dead, :none) + :one")
        values |= {":none": 0, ":one": 1}
    return sets, values


def _health(item: Item) -> Health:
    since = item.get("failing_since")
    return Health(from_text(str(since)) if since else None, cast("int", item.get("dead") or 0))


def _key(subscription_id: str) -> Key:
    return {"pk": f"{PREFIX}{subscription_id}", "sk": "ENDPOINT"}
