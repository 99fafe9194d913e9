"""What must not happen to the record table and IAM cannot forbid: seen in its stream, and told."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from servicekit.metrics import Metrics

OVERWRITTEN = "RecordsOverwritten"
REMOVED = "RecordsRemoved"
"""Metrics that an alarm watches: anything above zero."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a stored record; `altered` tells whether its bytes are others now."""

    kind: Literal["overwritten", "removed"]
    event_id: str
    altered: bool


class Watcher:
    """Raises the alarm. Putting the same bytes again counts too: our own code never does."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def report(self, changes: Sequence[Change]) -> None:
        """Tells of changes: one line in the log, which holds ids and no content, and metrics."""
        if not changes:
            return
        overwritten = [change for change in changes if change.kind == "overwritten"]
        removed = [change for change in changes if change.kind == "removed"]
        # Before the metrics: if those fail, the ids are known all the same.
        _logger.error(
            "stored records were changed",
            extra={
                "overwritten": [change.event_id for change in overwritten],
                "altered": [change.event_id for change in overwritten if change.altered],
                "removed": [change.event_id for change in removed],
            },
        )
        await self._metrics.put(
            {OVERWRITTEN: float(len(overwritten)), REMOVED: float(len(removed))}
        )
