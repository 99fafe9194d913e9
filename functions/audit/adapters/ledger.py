"""The ledger table: head, markers and leaves. See `keys` for items.

| access pattern            | operation                                           |
| ------------------------- | --------------------------------------------------- |
| the head                  | GetItem, consistent                                 |
| a new head                | PutItem, if the one before is still there           |
| pending records           | Query of each shard's markers, consistent           |
| a batch's end             | BatchWriteItem: leaves put, markers removed         |
| places of records         | BatchGetItem, consistent                            |
| places under an id        | Query of its partition, consistent                  |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from functions.audit.adapters import keys
from functions.audit.adapters.markers import Markers
from functions.audit.domain.merkle import EMPTY_ROOT
from functions.audit.domain.models import Head, Leaf, Marker, Position
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import ConditionFailedError, DynamoTable, Expression, Item, Put

_HASH_BYTES = 32
_EMPTY = Head(0, EMPTY_ROOT, (), None, 0, settled=True)


class DynamoLedger:
    """`ports.Ledger` on DynamoDB."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table
        self._markers = Markers(table)

    async def head(self) -> Head:
        """See `ports.Ledger`."""
        item = await self._table.get(keys.HEAD)
        return _head_from(item) if item else _EMPTY

    async def advance(self, expected: Head, new: Head) -> bool:
        """See `ports.Ledger`."""
        condition = "tree_size = :size AND settled = :settled"
        if expected.size == 0:
            condition = f"attribute_not_exists(pk) OR ({condition})"
        expression = Expression(
            condition, values={":size": expected.size, ":settled": expected.settled}
        )
        try:
            await self._table.put(Put(_head_item(new), expression))
        except ConditionFailedError:
            return False
        return True

    async def pending(self, up_to: datetime, limit: int) -> list[Marker]:
        """See `ports.Ledger`."""
        return await self._markers.up_to(up_to, limit)

    async def count_pending(self) -> int:
        """See `ports.Ledger`."""
        return await self._markers.count()

    async def oldest_pending(self) -> datetime | None:
        """See `ports.Ledger`."""
        return await self._markers.oldest()

    async def settle(self, leaves: Sequence[Leaf], markers: Sequence[Position]) -> None:
        """See `ports.Ledger`."""
        # Places first: a record must never be neither pending nor sealed.
        await self._table.write_batch(puts=[_leaf_item(leaf) for leaf in leaves])
        await self._table.write_batch(deletes=[keys.marker_key(marker) for marker in markers])

    async def is_pending(self, position: Position) -> bool:
        """See `ports.Ledger`."""
        return await self._table.get(keys.marker_key(position)) is not None

    async def leaves(self, hashes: Mapping[str, bytes]) -> dict[str, Leaf]:
        """See `ports.Ledger`."""
        items = await self._table.get_batch([keys.leaf_key(*named) for named in hashes.items()])
        return {leaf.event_id: leaf for leaf in map(_leaf_from, items)}

    async def history(self, event_id: str) -> list[Leaf]:
        """See `ports.Ledger`."""
        page = await self._table.query("pk = :pk", {":pk": keys.leaf_pk(event_id)})
        return sorted(map(_leaf_from, page.items), key=lambda leaf: leaf.index)


def _head_item(head: Head) -> Item:
    return {
        **keys.HEAD,
        "tree_size": head.size,
        "root": head.root,
        "frontier": b"".join(head.frontier),
        "sealed_at": to_text(head.sealed_at) if head.sealed_at else None,
        "batch_start": head.batch_start,
        "settled": head.settled,
    }


def _head_from(item: Mapping[str, Any]) -> Head:
    frontier = item["frontier"]
    return Head(
        size=item["tree_size"],
        root=item["root"],
        frontier=tuple(frontier[n : n + _HASH_BYTES] for n in range(0, len(frontier), _HASH_BYTES)),
        sealed_at=from_text(item["sealed_at"]) if item["sealed_at"] else None,
        batch_start=item["batch_start"],
        settled=item["settled"],
    )


def _leaf_item(leaf: Leaf) -> Item:
    return {
        **keys.leaf_key(leaf.event_id, leaf.leaf_hash),
        "event_id": leaf.event_id,
        "leaf_index": leaf.index,
        "leaf_hash": leaf.leaf_hash,
        "accepted_at": to_text(leaf.accepted_at),
    }


def _leaf_from(item: Mapping[str, Any]) -> Leaf:
    return Leaf(
        item["leaf_index"], item["event_id"], item["leaf_hash"], from_text(item["accepted_at"])
    )
