"""What the sealer's function is called for, which alone signs: to seal, or for an export's note."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from contracts.audit.audit_verify import HASH_BYTES, export_text
from functions.audit.domain import notes
from functions.audit.domain.ports import Signer
from functions.audit.domain.sealing import Sealer, SealResult
from servicekit.clock import Clock, to_text
from servicekit.metrics import Metrics

FLUSH: Mapping[str, object] = {"flush": True}
"""The event that asks for a flush; any that asks for nothing is the schedule's."""

_EXPORT = "sign_export"


def export_event(digest: bytes) -> Mapping[str, object]:
    """The event that asks for the note of an export: `export_text` has what is signed."""
    return {_EXPORT: digest.hex()}


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
        """Does what the event asks for.

        Of an export's digest the answer is {"note": str}; else it is {"sealed": int, "complete":
        bool, "checkpoint": the contract's Checkpoint or None}. Raises what `Sealer.run` and
        `notes.sign` raise, and `ValueError` for a digest that is none: whoever asks for a
        signature chooses nothing else of what is signed.
        """
        if _EXPORT in event:
            return {"note": await self._sign_export(bytes.fromhex(event[_EXPORT]))}
        return await self._seal(event)

    async def _sign_export(self, digest: bytes) -> str:
        if len(digest) != HASH_BYTES:
            raise ValueError("an export's digest is a SHA-256 hash")
        return await notes.sign(self._signer, self._log_name, export_text(self._log_name, digest))

    async def _seal(self, event: Mapping[str, Any]) -> dict[str, Any]:
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
        key = await notes.key_of(self._signer, self._log_name)
        return {
            "size": newest.size,
            "root_hash": newest.root.hex(),
            "checkpoint": newest.text,
            "sealed_at": to_text(newest.sealed_at),
            "public_key": key.vkey,
        }
