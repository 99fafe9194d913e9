"""Brings what lies in a service's audit outbox to the audit sink.

The table's stream brings new items at once; a sweep on a schedule sends whatever was left behind.
An event is removed only after the sink has it, and sent again under the same event id until then,
so a crash anywhere neither loses nor doubles one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Protocol

from servicekit.audit import JsonObject
from servicekit.audit_outbox import OutboxItem
from servicekit.clock import Clock, utc_now
from servicekit.metrics import Metrics

MAX_EVENTS = 100
"""Of one call of the sink."""

LEFT_BEHIND_AFTER = timedelta(minutes=2)
"""Younger items are the stream's: it sends within seconds, and retries for less than that."""

_logger = logging.getLogger(__name__)


class SinkUnavailableError(Exception):
    """The sink took nothing, or it is not known what; the same call may pass later."""


class SinkRefusedError(Exception):
    """The sink will never take this call as it is; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class NotDeliveredError(Exception):
    """Some items must be sent again."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the sink made of one event: it has it, will never take it (`code`), or may later."""

    fate: Literal["stored", "refused", "later"]
    code: str | None = None


STORED = Verdict("stored")
LATER = Verdict("later")


class Sink(Protocol):
    """The audit sink."""

    async def send(self, events: Sequence[JsonObject]) -> Sequence[Verdict]:
        """One verdict per event, of at most `MAX_EVENTS`.

        Raises `SinkUnavailableError` and `SinkRefusedError`.
        """


class OutboxReader(Protocol):
    """The outbox, from this side."""

    @property
    def producers(self) -> Sequence[str]:
        """Whose items there may be."""

    async def after(self, producer: str, sequence: int, limit: int) -> list[OutboxItem]:
        """At most `limit` items of a producer above `sequence`, in order."""

    async def remove(self, items: Sequence[OutboxItem]) -> None:
        """Removes what has arrived; may be repeated."""

    async def refuse(self, item: OutboxItem, code: str) -> None:
        """Keeps the item and marks it, unless it is gone."""


@dataclass(slots=True)
class _Sweep:
    """A run over all producers; it stops sending once the sink did not take something."""

    ends: float
    sending: bool = True
    oldest_seconds: float = 0.0
    refused: int = 0


class AuditSender:
    """Sends, and keeps the outbox up to date."""

    def __init__(
        self,
        outbox: OutboxReader,
        sink: Sink,
        metrics: Metrics,
        clock: Clock = utc_now,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._sink = sink
        self._metrics = metrics
        self._clock = clock
        self._timer = timer

    async def deliver(self, items: Sequence[OutboxItem]) -> None:
        """Sends items as they come from the stream.

        Raises `NotDeliveredError`, so that the stream brings them again; what it gives up on, the
        sweep sends.
        """
        left = 0
        for start in range(0, len(items), MAX_EVENTS):
            left += await self._send(items[start : start + MAX_EVENTS])
        if left:
            raise NotDeliveredError(f"{left} of {len(items)} audit records were not delivered")

    async def sweep(self, seconds: float) -> None:
        """Sends what was left behind, for about `seconds`, and reports what is still there.

        Figures: `AuditOutboxOldestSeconds`, the age of the oldest item that waits, and
        `AuditOutboxRefused`, how many the sink will never take and a person must look at.
        """
        state = _Sweep(ends=self._timer() + seconds)
        for producer in self._outbox.producers:
            await self._sweep(producer, state)
        await self._metrics.put(
            {
                "AuditOutboxOldestSeconds": state.oldest_seconds,
                "AuditOutboxRefused": float(state.refused),
            }
        )

    async def _sweep(self, producer: str, state: _Sweep) -> None:
        after = 0
        while page := await self._outbox.after(producer, after, MAX_EVENTS):
            after = page[-1].sequence
            waiting = [item for item in page if item.refused is None]
            state.refused += len(page) - len(waiting)
            left = [item for item in waiting if self._age(item) >= LEFT_BEHIND_AFTER]
            if left and state.sending and self._timer() < state.ends:
                state.sending = not await self._send(left)
                if state.sending:
                    waiting = waiting[len(left) :]
            if waiting:
                # They are in order: what comes after is younger.
                age = self._age(waiting[0]).total_seconds()
                state.oldest_seconds = max(state.oldest_seconds, age)
                return

    def _age(self, item: OutboxItem) -> timedelta:
        return self._clock() - item.recorded_at

    async def _send(self, items: Sequence[OutboxItem]) -> int:
        """Sends one call's worth; returns how many must be sent again."""
        try:
            verdicts = await self._sink.send([item.event for item in items])
        except SinkUnavailableError:
            _logger.warning("audit sink not reached", exc_info=True)
            return len(items)
        except SinkRefusedError as refusal:
            return await self._send_apart(items, refusal)
        arrived = [i for i, v in zip(items, verdicts, strict=True) if v.fate == "stored"]
        if arrived:
            await self._outbox.remove(arrived)
        for item, verdict in zip(items, verdicts, strict=True):
            if verdict.fate == "refused":
                await self._refuse(item, verdict.code or "refused")
        return sum(verdict.fate == "later" for verdict in verdicts)

    async def _send_apart(self, items: Sequence[OutboxItem], refusal: SinkRefusedError) -> int:
        """Finds the item for which the whole call was refused."""
        if len(items) == 1:
            await self._refuse(items[0], refusal.code)
            return 0
        half = len(items) // 2
        return await self._send(items[:half]) + await self._send(items[half:])

    async def _refuse(self, item: OutboxItem, code: str) -> None:
        _logger.error(
            "audit record refused",
            extra={"producer": item.producer, "sequence": item.sequence, "refusal": code},
        )
        await self._outbox.refuse(item, code)
