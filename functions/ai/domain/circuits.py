"""The circuit breaker: what all processes learned of the targets, at the price of a read at times.

It is shared because an environment of a Lambda function serves one request at a time: each would
have to see five failures of its own, and a new one knows nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal, TypeVar

from functions.ai.domain.breaker import CLOSED, FAILURES, Circuit, Phase
from functions.ai.domain.retries import answered, may_fail_over
from functions.ai.domain.routing_ports import CircuitStore, TargetName
from servicekit.clock import Clock
from servicekit.errors import AppError

CACHE_SECONDS = 3
"""How long a process believes what it read: others learn after that time that a circuit opened."""

STORE_PATIENCE_SECONDS = 1.0
"""A store that takes longer is left alone: the breaker saves time, it must not cost any."""

_SWAPS = FAILURES
# Whoever lost that often to others that failed has seen them open the circuit.

T = TypeVar("T")

_logger = logging.getLogger(__name__)


class Circuits:
    """Says whom to ask, and is told what came of it. Never raises: a store that fails is logged,
    and every circuit counts as closed.
    """

    def __init__(self, store: CircuitStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[TargetName, tuple[int, Circuit]] = {}
        # Of calls on their way that were let through though the circuit was not closed.
        self._passes: dict[TargetName, Literal["probe", "last resort"]] = {}

    async def phases(self, names: Sequence[TargetName]) -> list[Phase]:
        """The phase of each, read at once as far as what is known is too old."""
        now = self._now()
        if any(now >= self._known.get(name, (0, CLOSED))[0] for name in names):
            found = await self._try(self._store.circuits(names), {})
            for name in names:
                self._known[name] = (now + CACHE_SECONDS, found.get(name, CLOSED))
        return [self._known[name][1].phase(now) for name in names]

    async def admit(self, name: TargetName, beside: Sequence[TargetName]) -> bool:
        """Whether the target may be asked now; if it is due, only the first who comes may.

        `beside` are all that may be asked in its place, itself included.
        """
        phase = dict(zip(beside, await self.phases(beside), strict=True))[name]
        if phase != "due":
            self._passes.pop(name, None)
            return phase == "closed"
        seen = self._known.pop(name)[1]
        probed = seen.probed(self._now())
        won = await self._try(self._store.swap(name, seen, probed), None)
        if won:
            self._keep(name, probed)
            self._passes[name] = "probe"
        # Without a store nobody can be first: all may.
        return won is not False

    def admit_anyway(self, name: TargetName) -> None:
        """Lets a call through, for there is no other target."""
        self._passes[name] = "last resort"

    async def report(self, name: TargetName, error: AppError | None) -> None:
        """What came of a call; writes nothing after a success while the circuit is closed."""
        passed = self._passes.pop(name, None)
        if answered(error):
            if passed:
                await self._change(name, lambda circuit: circuit.succeeded())
        elif error is not None and may_fail_over(error):
            now = self._now()
            probe = passed == "probe"
            await self._change(name, lambda circuit: circuit.failed(now, probe=probe))

    async def _change(self, name: TargetName, change: Callable[[Circuit], Circuit]) -> None:
        await self._try(self._change_shared(name, change), None)

    async def _change_shared(self, name: TargetName, change: Callable[[Circuit], Circuit]) -> None:
        for _ in range(_SWAPS):
            seen = (await self._store.circuits([name])).get(name, CLOSED)
            changed = change(seen)
            if changed is seen or await self._store.swap(name, seen, changed):
                self._keep(name, changed)
                _log(name, seen, changed)
                return
        self._known.pop(name, None)

    def _keep(self, name: TargetName, circuit: Circuit) -> None:
        self._known[name] = (self._now() + CACHE_SECONDS, circuit)

    def _now(self) -> int:
        return int(self._clock().timestamp())

    @staticmethod
    async def _try(call: Coroutine[Any, Any, T], otherwise: T) -> T:
        try:
            async with asyncio.timeout(STORE_PATIENCE_SECONDS):
                return await call
        except (AppError, TimeoutError):
            _logger.warning("circuits not available", exc_info=True)
            return otherwise


def _log(name: TargetName, seen: Circuit, changed: Circuit) -> None:
    provider, model = name
    facts = {"provider": provider, "model": model, "openings": changed.openings}
    if changed.openings > seen.openings:
        _logger.warning("circuit opened", extra=facts)
    elif seen.openings and not changed.openings:
        _logger.info("circuit closed", extra=facts)
