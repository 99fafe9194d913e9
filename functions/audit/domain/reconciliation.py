"""Whether everything that was counted has arrived: the gaps in producers' sequences.

A producer numbers its reports without a gap, in the transaction that stores them on its side, so a
number that never arrives is a loss. What was lost behind a producer's last report cannot be seen
here: the age of the oldest report in its outbox tells of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from functions.audit.domain.models import Gap, ProducerState, Span
from functions.audit.domain.ports import Producers, RecordReader
from servicekit.clock import Clock, utc_now
from servicekit.metrics import Metrics

GRACE = timedelta(minutes=10)
"""How long a number may be late: reports overtake each other, and outboxes are swept in between."""

ALARMED_FOR = timedelta(days=7)
"""How long a gap is counted for the alarm: a loss is told of, and does not hide the next one for
ever. The report names it as long as there are records beside it."""

MAX_GAPS = 1_000
"""Of one state, which is one item. With more, it is not moved on until some are closed."""

_PAGE = 1_000
_Arrivals = Sequence[tuple[int, datetime]]


@dataclass(frozen=True, slots=True)
class ProducerReport:
    """How complete a producer's reports are; `gaps` are those of the range asked for."""

    producer: str
    through: int
    through_at: datetime | None
    gaps: Sequence[Gap]

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.gaps


class Completeness:
    """Brings what is known of a producer up to date, from the sequences that have arrived."""

    def __init__(self, records: RecordReader) -> None:
        self._records = records

    async def current(self, state: ProducerState, *, most_gaps: int | None = None) -> ProducerState:
        """The state as it is now; with `most_gaps` it goes no further than that many lead."""
        gaps: list[Gap] = []
        for gap in state.gaps:
            gaps += await self._left_of(gap)
        current = replace(state, gaps=tuple(gaps))
        while most_gaps is None or len(current.gaps) < most_gaps:
            arrivals = await self._records.sequences(state.producer, current.through, _PAGE)
            if not arrivals:
                break
            current = _extended(current, arrivals)
        return current

    async def _left_of(self, gap: Gap) -> list[Gap]:
        """What is still missing of a gap.

        What lies below an arrival has the window of its neighbours: after a leap of the numbers,
        all that is lost is lost within that gap, whenever it was. The rest keeps the gap's window.
        """
        left: list[Gap] = []
        first, below_at = gap.first, gap.after
        # The neighbour below is read as well: the gap may keep the window of an earlier one.
        read = max(gap.first - 2, 0)
        while read < gap.last:
            limit = min(_PAGE, gap.last - read)
            arrivals = await self._records.sequences(gap.producer, read, limit)
            within = [arrival for arrival in arrivals if arrival[0] <= gap.last]
            for sequence, accepted_at in within:
                if sequence > first:
                    left.append(_gap(gap.producer, first - 1, below_at, sequence, accepted_at))
                first, below_at = max(first, sequence + 1), accepted_at
                read = sequence
            if len(within) < limit:
                break
        if first <= gap.last:
            left.append(replace(gap, first=first))
        return left


class Reconciler:
    """The scheduled part: keeps the states up to date, and counts the gaps that stay."""

    def __init__(
        self, records: RecordReader, producers: Producers, metrics: Metrics, clock: Clock = utc_now
    ) -> None:
        self._completeness = Completeness(records)
        self._producers = producers
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> int:
        """Records the metric `Gaps`, of those from `GRACE` to `ALARMED_FOR` old, and returns it."""
        overdue = 0
        for state in await self._producers.all():
            current = await self._completeness.current(state, most_gaps=MAX_GAPS)
            if current != state:
                # Another run that was faster has seen the same.
                await self._producers.save(current)
            now = self._clock()
            overdue += sum(GRACE <= now - gap.before <= ALARMED_FOR for gap in current.gaps)
        await self._metrics.put({"Gaps": float(overdue)})
        return overdue


class ReconciliationService:
    """The report, which sees everything that has arrived up to now."""

    def __init__(self, records: RecordReader, producers: Producers) -> None:
        self._completeness = Completeness(records)
        self._producers = producers

    async def report(self, span: Span) -> list[ProducerReport]:
        """Of each producer every gap whose window touches `span`, the young ones included.

        Their window is from the acceptance of the report before them to that of the one after;
        without one before them, it has no beginning.
        """
        states = await self._producers.all()
        current = await asyncio.gather(*(self._completeness.current(state) for state in states))
        return [
            ProducerReport(
                state.producer,
                state.through,
                state.through_at,
                tuple(gap for gap in state.gaps if _touches(gap, span)),
            )
            for state in sorted(current, key=lambda state: state.producer)
        ]


def _extended(state: ProducerState, arrivals: _Arrivals) -> ProducerState:
    gaps = list(state.gaps)
    through, through_at = state.through, state.through_at
    for sequence, accepted_at in arrivals:
        if sequence > through + 1:
            gaps.append(_gap(state.producer, through, through_at, sequence, accepted_at))
        # A number twice is no loss: a producer restored from a backup counts on from there.
        if sequence > through:
            through, through_at = sequence, accepted_at
    return replace(state, through=through, through_at=through_at, gaps=tuple(gaps))


def _gap(
    producer: str, below: int, below_at: datetime | None, above: int, above_at: datetime
) -> Gap:
    """The gap between two neighbours, of which either may have been the later."""
    after = None if below_at is None else min(below_at, above_at)
    before = above_at if below_at is None else max(below_at, above_at)
    return Gap(producer, below + 1, above - 1, after, before)


def _touches(gap: Gap, span: Span) -> bool:
    return gap.before >= span.start and (gap.after is None or gap.after < span.end)
