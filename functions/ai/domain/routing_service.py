"""What callers do with routing policies. All is recorded before it is done, refusals included."""

from __future__ import annotations

from typing import Any

from functions.ai.domain.audit import Action, Operations, Subject
from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.routing import Policy, StoredPolicy, Target, UnknownTargetsError, check
from functions.ai.domain.routing_errors import RoutingNotFoundError
from functions.ai.domain.routing_ports import PolicyStore
from servicekit.audit import JsonObject
from servicekit.clock import Clock
from servicekit.errors import InvalidRequestError


class RoutingService:
    """Reads, sets and removes the policies of projects, and shows the deployment's. Every call
    raises `AuditUnavailableError` when it cannot be recorded.
    """

    def __init__(
        self,
        store: PolicyStore,
        deployment: Policy,
        catalogue: Catalogue,
        clock: Clock,
        operations: Operations,
    ) -> None:
        self._store = store
        self._deployment = deployment
        self._catalogue = catalogue
        self._clock = clock
        self._operations = operations

    async def of_deployment(self) -> Policy:
        """The policy of projects that have none."""
        await self._operations.allow(Action.READ_ROUTING, Subject.routing(None))
        return self._deployment

    async def get(self, project_id: int) -> StoredPolicy:
        """The project's policy. Raises `RoutingNotFoundError`."""
        stored = await self._known(Action.READ_ROUTING, project_id)
        await self._operations.allow(Action.READ_ROUTING, Subject.routing(project_id))
        return stored

    async def put(self, project_id: int, policy: Policy) -> StoredPolicy:
        """Sets the project's policy whole. Raises `InvalidRequestError`, which lists the targets
        that cannot be called.
        """
        try:
            check(policy, self._catalogue)
        except UnknownTargetsError as unknown:
            errors = [{"field": field, "message": text} for field, text in unknown.problems]
            raise InvalidRequestError(errors=errors) from None
        await self._operations.allow(
            Action.SET_ROUTING, Subject.routing(project_id), _facts(policy)
        )
        now = self._clock()
        return await self._store.save_policy(StoredPolicy(project_id, policy, now, now))

    async def remove(self, project_id: int) -> None:
        """Leaves the project to the deployment's policy. Raises `RoutingNotFoundError`."""
        await self._known(Action.DELETE_ROUTING, project_id)
        await self._operations.allow(Action.DELETE_ROUTING, Subject.routing(project_id))
        if not await self._store.remove_policy(project_id):
            raise RoutingNotFoundError

    async def _known(self, action: Action, project_id: int) -> StoredPolicy:
        stored = await self._store.policy(project_id)
        if stored is None:
            subject = Subject.routing(project_id)
            raise await self._operations.deny(action, subject, RoutingNotFoundError())
        return stored


def _facts(policy: Policy) -> JsonObject:
    """The models that the policy names; a summarising model of none is the session's."""
    facts: dict[str, Any] = {
        "default": [_spelt(target) for target in policy.default],
        "fallbacks": [_spelt(target) for target in policy.fallbacks],
    }
    if summaries := policy.summaries:
        facts["summaries"] = _spelt(summaries.model) if summaries.model else "session"
    return facts


def _spelt(target: Target) -> str:
    return f"{target.provider}:{target.model}"
