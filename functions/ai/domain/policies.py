"""The routing policy that binds a project, known to a process for some seconds."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from functions.ai.domain.routing import Policy
from functions.ai.domain.routing_ports import PolicyStore
from servicekit.clock import Clock
from servicekit.errors import AppError

CACHE_SECONDS = 10
"""How long a process believes what it read of a project, that it has no policy included: a policy
that is set, changed or removed binds everywhere after that time.
"""

STORE_PATIENCE_SECONDS = 1.0
"""A store that takes longer is not waited for: what was known last binds."""

_CACHED = 10_000

_logger = logging.getLogger(__name__)


class Policies:
    """A project's policy is the one that was set for it, else the deployment's."""

    def __init__(self, store: PolicyStore, deployment: Policy, clock: Clock) -> None:
        self.deployment = deployment
        self._store = store
        self._clock = clock
        self._known: OrderedDict[int, tuple[float, Policy | None]] = OrderedDict()

    async def of(self, project_id: int) -> Policy:
        """Never raises: while the store fails, what was known last binds, or the deployment's."""
        now = self._clock().timestamp()
        until, policy = self._known.get(project_id, (0.0, None))
        if now >= until:
            policy = await self._read(project_id, policy)
            self._known[project_id] = (now + CACHE_SECONDS, policy)
            self._known.move_to_end(project_id)
            while len(self._known) > _CACHED:
                self._known.popitem(last=False)
        return self.deployment if policy is None else policy

    async def _read(self, project_id: int, known: Policy | None) -> Policy | None:
        try:
            async with asyncio.timeout(STORE_PATIENCE_SECONDS):
                stored = await self._store.policy(project_id)
        except (AppError, TimeoutError):
            _logger.warning("routing policy not read", exc_info=True)
            return known
        return stored.policy if stored else None
