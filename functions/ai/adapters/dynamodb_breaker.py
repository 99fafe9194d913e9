"""Circuits in the service's table. See `keys` for the items.

| access pattern           | operation                                          |
| ------------------------ | -------------------------------------------------- |
| circuits of some targets | BatchGetItem, consistent                           |
| change a circuit         | PutItem, if the version is the one that was seen   |

The table's TTL removes a circuit that nobody changed for an hour: one that is not there is closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import cast

from functions.ai.adapters import keys
from functions.ai.domain.breaker import Circuit
from functions.ai.domain.routing_ports import TargetName
from servicekit.dynamodb import NEW, ConditionFailedError, DynamoTable, Expression, Item, Put
from servicekit.ids import new_ulid


class DynamoCircuits:
    """`routing_ports.CircuitStore` on DynamoDB."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def circuits(self, names: Sequence[TargetName]) -> Mapping[TargetName, Circuit]:
        """See `routing_ports.CircuitStore`."""
        wanted = [keys.circuit_key(*name) for name in dict.fromkeys(names)]
        items = await self._table.get_batch(wanted)
        return {(str(item["provider"]), str(item["model"])): _from_item(item) for item in items}

    async def swap(self, name: TargetName, seen: Circuit, changed: Circuit) -> bool:
        """See `routing_ports.CircuitStore`."""
        token = new_ulid()
        provider, model = name
        item: Item = {
            **keys.circuit_key(provider, model),
            "provider": provider,
            "model": model,
            **asdict(changed),
            "token": token,
            "expires_at": changed.forgotten_at,
        }
        condition = Expression("version = :seen", values={":seen": seen.version})
        if not seen.version:
            condition = NEW
        try:
            await self._table.put(Put(item, condition))
        except ConditionFailedError as failure:
            # The SDK repeats a call whose answer was lost: it may have been this very one.
            return failure.item is not None and failure.item["token"] == token
        return True


def _from_item(item: Item) -> Circuit:
    numbers = {name: cast("int", item[name]) for name in asdict(Circuit())}
    return Circuit(**numbers)
