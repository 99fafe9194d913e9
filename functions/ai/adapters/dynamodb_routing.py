"""Routing policies in the service's table. See `keys` for the items.

| access pattern       | operation                              |
| -------------------- | -------------------------------------- |
| a project's policy   | GetItem, consistent                    |
| set, remove a policy | UpdateItem; DeleteItem if it is there  |
"""

from __future__ import annotations

import json

from functions.ai.adapters import keys
from functions.ai.domain.routing import Policy, StoredPolicy
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import THERE, ConditionFailedError, DynamoTable, Expression, Item, Update


class DynamoPolicies:
    """`routing_ports.PolicyStore` on DynamoDB."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def policy(self, project_id: int) -> StoredPolicy | None:
        """See `routing_ports.PolicyStore`."""
        item = await self._table.get(keys.routing_key(project_id))
        return _from_item(project_id, item) if item else None

    async def save_policy(self, stored: StoredPolicy) -> StoredPolicy:
        """See `routing_ports.PolicyStore`."""
        key = keys.routing_key(stored.project_id)
        expression = Expression(
            "attribute_not_exists(pk) OR sk = :sk",
            update="SET policy = :policy, updated_at = :updated_at,"
            " created_at = if_not_exists(created_at, :created_at)",
            values={
                ":policy": json.dumps(stored.policy.data()),
                ":updated_at": to_text(stored.updated_at),
                ":created_at": to_text(stored.created_at),
                ":sk": key["sk"],
            },
        )
        return _from_item(stored.project_id, await self._table.update(Update(key, expression)))

    async def remove_policy(self, project_id: int) -> bool:
        """See `routing_ports.PolicyStore`."""
        try:
            await self._table.delete(keys.routing_key(project_id), THERE)
        except ConditionFailedError:
            return False
        return True


def _from_item(project_id: int, item: Item) -> StoredPolicy:
    return StoredPolicy(
        project_id,
        Policy.from_data(json.loads(str(item["policy"]))),
        from_text(str(item["created_at"])),
        from_text(str(item["updated_at"])),
    )
