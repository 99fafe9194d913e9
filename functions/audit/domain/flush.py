"""When the sealer runs, up to when it takes records, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from functions.audit.domain import checkpoint
from functions.audit.domain.ports import Signer
from functions.audit.domain.sealing import Sealer, SealResult
from servicekit.clock import Clock, to_text
from servicekit.metrics import Metrics

FLUSH: Mapping[str, object] = {"flush": True}
"""The event that asks for a flush; any other is the schedule's."""

_SCHEDULED_RUN = timedelta(minutes=4)
_FLUSH_RUN = timedelta(seconds=20)
"""After these a run begins no further batch: before the function, or who waits, would give up."""


class SealingFunction:
    """Runs the sealer.

    Records younger than `settle` keep their markers, by which queries find them until the indexes
    have caught up; a flush waits until what was accepted before it is older than that.
    """

    def __init__(
        self,
        sealer: Sealer,
        signer: Signer,
        log_name: str,
        metrics: Metrics,
        clock: Clock,
        settle: timedelta,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sealer = sealer
        self._signer = signer
        self._log_name = log_name
        self._metrics = metrics
        self._clock = clock
        self._settle = settle
        self._sleep = sleep

    async def run(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Seals; returns {"sealed", "complete", "checkpoint": the contract's Checkpoint or None}.

        Raises what `Sealer.run` raises.
        """
        called = self._clock()
        flush = bool(event.get("flush"))
        if flush:
            await self._sleep(self._settle.total_seconds())
        up_to = called if flush else called - self._settle
        result = await self._sealer.run(up_to, called + (_FLUSH_RUN if flush else _SCHEDULED_RUN))
        await self._metrics.put(result.metrics())
        return {
            "sealed": result.sealed,
            "complete": result.complete,
            "checkpoint": await self._checkpoint(result),
        }

    async def _checkpoint(self, result: SealResult) -> dict[str, Any] | None:
        newest = result.checkpoint
        if newest is None:
            return None
        key = await checkpoint.key_of(self._signer, self._log_name)
        return {
            "size": newest.size,
            "root_hash": newest.root.hex(),
            "checkpoint": newest.text,
            "sealed_at": to_text(newest.sealed_at),
            "public_key": key.vkey,
        }
