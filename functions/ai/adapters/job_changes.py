"""Changes of jobs, and summaries that are due, in records of the table's stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from functions.ai.adapters import keys
from functions.ai.adapters.turn_items import turn_from
from functions.ai.domain.job_ports import Change, JobChange, SummaryWanted
from servicekit.dynamodb import from_attributes

StreamRecord = Mapping[str, Any]


def changes_from(records: Sequence[StreamRecord]) -> list[Change]:
    """New jobs, changes of a job's status, and turns that ended with a summary to be made, in the
    stream's order.

    The mapping's filter lets no other record pass; were it wider, they would be dropped here.
    """
    return [change for record in records if _is_turn(record) for change in _changes(record)]


def _is_turn(record: StreamRecord) -> bool:
    data = record["dynamodb"]
    return record["eventName"] in {"INSERT", "MODIFY"} and data["Keys"]["sk"]["S"] == keys.TURN_SK


def _changes(record: StreamRecord) -> Iterator[Change]:
    data = record["dynamodb"]
    turn = turn_from(from_attributes(data["NewImage"]))
    old = data.get("OldImage")
    before: Any = from_attributes(old)["status"] if old else None
    if before == turn.status:
        return
    if turn.job is not None:
        yield JobChange(before, turn)
    if turn.summary is not None:
        yield SummaryWanted(turn.turn_id, turn.summary)
