"""What routing needs from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from functions.ai.domain.breaker import Circuit
from functions.ai.domain.routing import StoredPolicy

TargetName = tuple[str, str]
"""Provider and model."""


class PolicyStore(Protocol):
    """The projects' routing policies."""

    async def policy(self, project_id: int) -> StoredPolicy | None:
        """The project's, or None; consistent."""

    async def save_policy(self, stored: StoredPolicy) -> StoredPolicy:
        """Sets it; the `created_at` of one that is there stays. Returns it whole."""

    async def remove_policy(self, project_id: int) -> bool:
        """Whether there was one."""


class CircuitStore(Protocol):
    """The circuits of all processes."""

    async def circuits(self, names: Sequence[TargetName]) -> Mapping[TargetName, Circuit]:
        """Those that are kept, consistent; the others are closed."""

    async def swap(self, name: TargetName, seen: Circuit, changed: Circuit) -> bool:
        """Puts `changed` in the place of the version that was `seen`; False if that is gone."""
