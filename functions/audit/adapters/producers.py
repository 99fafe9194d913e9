"""How complete each producer's reports are, in the ledger table. See `keys` for items.

| access pattern     | operation                                                      |
| ------------------ | -------------------------------------------------------------- |
| every producer     | Query of one partition, consistent                             |
| a new producer     | PutItem, if it is not known                                    |
| a producer's state | PutItem, if the version is the one read                        |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from functions.audit.adapters import keys
from functions.audit.domain.models import Gap, ProducerState
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import NEW, ConditionFailedError, DynamoTable, Expression, Item, Put


class DynamoProducers:
    """`ports.Producers` on DynamoDB."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def all(self) -> list[ProducerState]:
        """See `ports.Producers`."""
        states: list[ProducerState] = []
        start: Item | None = None
        while True:
            page = await self._table.query("pk = :pk", {":pk": keys.PRODUCERS}, start=start)
            states += [_state_from(item) for item in page.items]
            start = page.last_key
            if start is None:
                return states

    async def save(self, state: ProducerState) -> bool:
        """See `ports.Producers`."""
        moved = replace(state, version=state.version + 1)
        expression = Expression("version = :version", values={":version": state.version})
        try:
            await self._table.put(Put(_item(moved), expression))
        except ConditionFailedError:
            return False
        return True

    async def register(self, producer: str) -> None:
        """See `ports.Producers`."""
        state = ProducerState(producer, through=0, through_at=None)
        try:
            await self._table.put(Put(_item(state), NEW))
        except ConditionFailedError:
            return  # known already


def _item(state: ProducerState) -> Item:
    gaps = [
        [gap.first, gap.last, to_text(gap.after) if gap.after else None, to_text(gap.before)]
        for gap in state.gaps
    ]
    return {
        **keys.producer_key(state.producer),
        "through": state.through,
        "through_at": to_text(state.through_at) if state.through_at else None,
        "gaps": json.dumps(gaps),
        "version": state.version,
    }


def _state_from(item: Mapping[str, Any]) -> ProducerState:
    producer = item["sk"]
    return ProducerState(
        producer=producer,
        through=item["through"],
        through_at=from_text(item["through_at"]) if item["through_at"] else None,
        gaps=tuple(
            Gap(producer, first, last, from_text(after) if after else None, from_text(before))
            for first, last, after, before in json.loads(item["gaps"])
        ),
        version=item["version"],
    )
