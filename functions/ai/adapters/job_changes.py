"""Changes of jobs in records of the table's stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from functions.ai.adapters import keys
from functions.ai.adapters.turn_items import turn_from
from functions.ai.domain.job_ports import JobChange
from servicekit.dynamodb import from_attributes

StreamRecord = Mapping[str, Any]


def changes_from(records: Sequence[StreamRecord]) -> list[JobChange]:
    """New jobs and changes of a job's status, in the stream's order.

    The mapping's filter lets no other record pass; were it wider, they would be dropped here.
    """
    changes = [_change(record["dynamodb"]) for record in records if _is_job(record)]
    return [change for change in changes if change.before != change.turn.status]


def _is_job(record: StreamRecord) -> bool:
    data = record["dynamodb"]
    return (
        record["eventName"] in {"INSERT", "MODIFY"}
        and data["Keys"]["sk"]["S"] == keys.TURN_SK
        and "priority" in data["NewImage"]
    )


def _change(data: Mapping[str, Any]) -> JobChange:
    turn = turn_from(from_attributes(data["NewImage"]))
    old = data.get("OldImage")
    before = from_attributes(old)["status"] if old else None
    return JobChange(before, turn)  # type: ignore[arg-type]
