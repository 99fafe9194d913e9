"""Routing policies and circuits in memory."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from functions.ai.domain.breaker import CLOSED, Circuit
from functions.ai.domain.routing import StoredPolicy
from functions.ai.domain.routing_ports import TargetName


class MemoryRouting:
    """`routing_ports.PolicyStore` and `routing_ports.CircuitStore`: each call happens at once, and
    others may come before it. With a `failure` it raises that instead.
    """

    def __init__(self) -> None:
        self.kept: dict[int, StoredPolicy] = {}
        self.kept_circuits: dict[TargetName, Circuit] = {}
        self.failure: Exception | None = None
        self.reads = 0
        self.writes = 0

    async def policy(self, project_id: int) -> StoredPolicy | None:
        await self._call()
        return self.kept.get(project_id)

    async def save_policy(self, stored: StoredPolicy) -> StoredPolicy:
        await self._call()
        old = self.kept.get(stored.project_id)
        created_at = old.created_at if old else stored.created_at
        self.kept[stored.project_id] = replace(stored, created_at=created_at)
        return self.kept[stored.project_id]

    async def remove_policy(self, project_id: int) -> bool:
        await self._call()
        return self.kept.pop(project_id, None) is not None

    async def circuits(self, names: Sequence[TargetName]) -> Mapping[TargetName, Circuit]:
        await self._call()
        self.reads += 1
        return {name: self.kept_circuits[name] for name in names if name in self.kept_circuits}

    async def swap(self, name: TargetName, seen: Circuit, changed: Circuit) -> bool:
        await self._call()
        self.writes += 1
        if self.kept_circuits.get(name, CLOSED).version != seen.version:
            return False
        self.kept_circuits[name] = changed
        return True

    async def _call(self) -> None:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
