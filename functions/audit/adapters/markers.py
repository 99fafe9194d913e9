"""Pending markers: what is stored and not yet sealed, by time of acceptance."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from functions.audit.adapters import keys
from functions.audit.adapters.terms import terms_attributes, terms_from
from functions.audit.domain.models import Filter, Marker, Position
from servicekit.clock import to_text
from servicekit.dynamodb import DynamoTable, Item

# Above every character of a time or an id in a sort key.
_LAST = "~"
_READ_AT_ONCE = 100


class Markers:
    """The markers of a ledger table; every read is consistent."""

    def __init__(self, ledger: DynamoTable) -> None:
        self._ledger = ledger

    async def up_to(self, moment: datetime, limit: int) -> list[Marker]:
        """About `limit` markers accepted up to `moment`, the oldest of every shard, by time."""
        share = -(-limit // len(keys.PENDING_SHARDS))
        shards = await asyncio.gather(
            *(
                self._shard(
                    "pk = :pk AND sk <= :bound",
                    {":pk": pk, ":bound": f"{to_text(moment)}{_LAST}"},
                    share,
                )
                for pk in keys.PENDING_SHARDS
            )
        )
        return _by_time(shards)

    async def newest(
        self, wanted: Filter, since: datetime, before: str, limit: int
    ) -> list[Position]:
        """The newest places from `since` on that `wanted` matches, at least `limit` if there are.

        `before` is a sort key that they are below.
        """
        shards = await asyncio.gather(
            *(self._newest(pk, wanted, to_text(since), before, limit) for pk in keys.PENDING_SHARDS)
        )
        return [position for shard in shards for position in shard]

    async def count(self) -> int:
        """How many there are."""
        counts = await asyncio.gather(
            *(self._ledger.count("pk = :pk", {":pk": pk}) for pk in keys.PENDING_SHARDS)
        )
        return sum(counts)

    async def oldest(self) -> datetime | None:
        """When the oldest was accepted."""
        shards = await asyncio.gather(
            *(self._shard("pk = :pk", {":pk": pk}, 1) for pk in keys.PENDING_SHARDS)
        )
        first = _by_time(shards)
        return first[0].accepted_at if first else None

    async def _newest(
        self, pk: str, wanted: Filter, since: str, before: str, limit: int
    ) -> list[Position]:
        found: list[Position] = []
        start: Item | None = None
        while len(found) < limit:
            page = await self._ledger.query(
                "pk = :pk AND sk BETWEEN :since AND :before",
                {":pk": pk, ":since": since, ":before": before},
                forward=False,
                limit=_READ_AT_ONCE,
                start=start,
            )
            markers = map(_marker_from, page.items)
            found += [
                Position(marker.accepted_at, marker.event_id)
                for marker in markers
                if wanted.matches(marker.terms)
            ]
            start = page.last_key
            if start is None:
                break
        return found

    async def _shard(
        self, condition: str, values: dict[str, str], limit: int | None
    ) -> list[Marker]:
        found: list[Marker] = []
        start: Item | None = None
        while limit is None or len(found) < limit:
            left = None if limit is None else limit - len(found)
            page = await self._ledger.query(condition, values, limit=left, start=start)
            found += [_marker_from(item) for item in page.items]
            start = page.last_key
            if start is None:
                break
        return found


def marker_item(marker: Marker) -> Item:
    """The marker as it is stored, in one transaction with its record."""
    return {
        **keys.marker_key(Position(marker.accepted_at, marker.event_id)),
        **terms_attributes(marker.terms),
        "leaf_hash": marker.leaf_hash,
    }


def _marker_from(item: Mapping[str, Any]) -> Marker:
    position = keys.position_of(item["sk"])
    return Marker(position.event_id, position.accepted_at, item["leaf_hash"], terms_from(item))


def _by_time(shards: list[list[Marker]]) -> list[Marker]:
    markers = [marker for shard in shards for marker in shard]
    return sorted(markers, key=lambda marker: (marker.accepted_at, marker.event_id))
