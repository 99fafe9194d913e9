"""What was used, in the service's table. See `keys` for the items.

| access pattern                      | operation                                              |
| ----------------------------------- | ------------------------------------------------------ |
| charge an attempt, once             | part of the transaction that ends the turn: a put of   |
|                                     | the charge if there is none, and ADD to two sums       |
| usage of a project                  | Query on its partition, sk between two days            |
| usage of a user                     | Query on its partition, filtered where a project is    |
|                                     | given                                                  |

Each sum is there twice, under its project and under its user, so that both are read consistently
and without an index. Amounts are integers of pico-dollars.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

from functions.ai.adapters import keys
from functions.ai.domain.pricing import usd
from functions.ai.domain.usage import TALLY_FIELDS, Aggregate, Charge, Tally, UsageFilter
from servicekit.clock import to_text
from servicekit.dynamodb import NEW, DynamoTable, Expression, Item, Key, Put, Update, Value, Write


def usage_writes(charge: Charge) -> list[Write]:
    """The part of the transaction that ends an attempt which was billed.

    The first write is refused when the attempt was charged before: then it has ended before.
    """
    project = keys.usage_sk(charge.day, charge.user_id, charge.provider, charge.model)
    user = keys.usage_sk(charge.day, charge.project_id, charge.provider, charge.model)
    return [
        Put(_charge_item(charge), NEW),
        _addition({"pk": keys.project_usage_pk(charge.project_id), "sk": project}, charge),
        _addition({"pk": keys.user_usage_pk(charge.user_id), "sk": user}, charge),
    ]


class DynamoUsage:
    """`money_ports.UsageStore` on DynamoDB."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def aggregates(self, wanted: UsageFilter) -> AsyncIterator[Aggregate]:
        """See `money_ports.UsageStore`."""
        first, last = keys.usage_range(wanted.first, wanted.last)
        values: dict[str, Value] = {":pk": _partition(wanted), ":first": first, ":last": last}
        filtered = wanted.user_id is not None and wanted.project_id is not None
        if filtered:
            values[":project"] = wanted.project_id
        start: Item | None = None
        while True:
            page = await self._table.query(
                "pk = :pk AND sk BETWEEN :first AND :last",
                values,
                start=start,
                filter_by="project_id = :project" if filtered else None,
            )
            for item in page.items:
                yield _aggregate_from(item)
            start = page.last_key
            if start is None:
                return


def _partition(wanted: UsageFilter) -> str:
    if wanted.user_id is not None:
        return keys.user_usage_pk(wanted.user_id)
    if wanted.project_id is not None:
        return keys.project_usage_pk(wanted.project_id)
    raise ValueError("usage is a project's or a user's")


def _charge_item(charge: Charge) -> Item:
    dollars = charge.dollars
    return {
        **keys.charge_key(charge.turn_id, charge.attempt, charge.call),
        "turn_id": charge.turn_id,
        "attempt": charge.attempt,
        "call": charge.call,
        "session_id": charge.session_id,
        "project_id": charge.project_id,
        "user_id": charge.user_id,
        "provider": charge.provider,
        "model": charge.model,
        **{f"{name}_tokens": count for name, count in asdict(charge.usage).items()},
        "billed_tokens": charge.usage.total,
        "delivered_tokens": charge.delivered,
        "estimated": charge.estimated,
        "cost": None if dollars is None else usd(dollars),
        "price_list": charge.price_list,
        "day": charge.day.isoformat(),
        "at": to_text(charge.at),
    }


def _addition(key: Key, charge: Charge) -> Update:
    """Adds to a sum, which begins with its first charge."""
    facts: dict[str, Value] = {
        "day": charge.day.isoformat(),
        "project_id": charge.project_id,
        "user_id": charge.user_id,
        "provider": charge.provider,
        "model": charge.model,
    }
    counts = {name: n for name in TALLY_FIELDS if (n := getattr(charge.tally, name))}
    sets = ", ".join(f"#{name} = :{name}" for name in facts)
    adds = ", ".join(f"#{name} :{name}" for name in counts)
    return Update(
        key,
        Expression(
            "attribute_not_exists(pk) OR #day = :day",
            update=f"SET {sets} ADD {adds}",
            names={f"#{name}": name for name in (*facts, *counts)},
            values={f":{name}": value for name, value in (facts | counts).items()},
        ),
    )


def _aggregate_from(item: Mapping[str, Any]) -> Aggregate:
    return Aggregate(
        day=date.fromisoformat(item["day"]),
        project_id=item["project_id"],
        user_id=item["user_id"],
        provider=item["provider"],
        model=item["model"],
        tally=Tally(**{name: item.get(name, 0) for name in TALLY_FIELDS}),
    )
