"""How far the search for unsealed records came, in the ledger table. See `keys` for items.

| access pattern | operation                                             |
| -------------- | ----------------------------------------------------- |
| the state      | GetItem, consistent                                   |
| a new state    | PutItem, if the version before is there, or none is   |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from functions.audit.adapters import keys
from functions.audit.domain.models import Searched
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import NEW, ConditionFailedError, DynamoTable, Expression, Item, Put


class DynamoSearchState:
    """`ports.SearchState` on DynamoDB."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def load(self) -> Searched | None:
        """See `ports.SearchState`."""
        item = await self._table.get(keys.SEARCHED)
        return _searched_from(item) if item else None

    async def save(self, searched: Searched) -> bool:
        """See `ports.SearchState`."""
        previous = searched.version - 1
        condition = (
            Expression("version = :previous", values={":previous": previous}) if previous else NEW
        )
        try:
            await self._table.put(Put(_item(searched), condition))
        except ConditionFailedError:
            return False
        return True


def _item(searched: Searched) -> Item:
    return {
        **keys.SEARCHED,
        "through": to_text(searched.through),
        "window_end": to_text(searched.end),
        "window_before": keys.place(searched.before) if searched.before else None,
        "version": searched.version,
    }


def _searched_from(item: Mapping[str, Any]) -> Searched:
    before = item["window_before"]
    return Searched(
        through=from_text(item["through"]),
        end=from_text(item["window_end"]),
        before=keys.position_of(before) if before else None,
        version=item["version"],
    )
