"""Whom to ask: the model that was asked for, and what may stand in for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection

from functions.ai.domain.catalogue import Catalogue, Model
from functions.ai.domain.circuits import Circuits
from functions.ai.domain.errors import ProviderKeyMissingError
from functions.ai.domain.policies import Policies
from functions.ai.domain.routing import NO_NEEDS, Needs, Policy, Random, Target, drawn
from functions.ai.domain.routing_ports import TargetName
from servicekit.errors import AppError


class Router:
    """Applies a project's policy to the models that this deployment can call."""

    def __init__(
        self,
        catalogue: Catalogue,
        active_providers: Collection[str],
        policies: Policies,
        circuits: Circuits,
        random: Random,
    ) -> None:
        self._default = catalogue.default
        self._callable = {
            _name(model): model
            for model in catalogue.models
            if not model.retired and model.provider.name in active_providers
        }
        self._policies = policies
        self._circuits = circuits
        self._random = random

    async def default(self, project_id: int, *, needs: Needs = NO_NEEDS) -> Model:
        """The model of a new session for which none was named."""
        policy = await self._policies.of(project_id)
        models = self._models(drawn(policy.default, self._random), needs)
        if len(models) > 1:
            phases = await self._circuits.phases([_name(model) for model in models])
            # One that is due is drawn like the others: somebody must probe it.
            closed = [m for m, phase in zip(models, phases, strict=True) if phase != "open"]
            models = closed or models
        return models[0] if models else self._default

    async def candidates(
        self, model: Model, project_id: int, *, needs: Needs = NO_NEEDS
    ) -> AsyncGenerator[Model, None]:
        """Whom to ask, one after the other: `model`, then those that may stand in for it and can
        do what is needed. Those whose circuit is open are passed over, unless all are.

        Take the next only to ask it, and tell by `report` what came of each. Raises
        `ProviderKeyMissingError` if no provider of theirs is active.
        """
        models = self._order(await self._policies.of(project_id), model, needs)
        if not models:
            raise ProviderKeyMissingError(
                f"{model.provider.name} is not active in this deployment."
            )
        if len(models) == 1:
            # Nothing stands in for it: its circuit would change nothing.
            yield models[0]
            return
        names = [_name(candidate) for candidate in models]
        asked = False
        for candidate, name in zip(models, names, strict=True):
            if await self._circuits.admit(name, names):
                asked = True
                yield candidate
        if not asked:
            for candidate, name in zip(models, names, strict=True):
                self._circuits.admit_anyway(name)
                yield candidate

    async def report(self, model: Model, error: AppError | None) -> None:
        """What came of asking a candidate: None at its first content, else the error for which it
        is given up, after its retries. Never raises.
        """
        await self._circuits.report(_name(model), error)

    def _order(self, policy: Policy, model: Model, needs: Needs) -> list[Model]:
        asked = Target.of(model)
        # Who names a model knows what it can do; the catalogue does not of those that were added.
        return self._models([asked], NO_NEEDS) + self._models(
            policy.after(asked, self._random), needs
        )

    def _models(self, targets: list[Target], needs: Needs) -> list[Model]:
        found = (self._callable.get(target.name) for target in targets)
        return [model for model in found if model is not None and needs.met_by(model)]


def _name(model: Model) -> TargetName:
    return model.provider.name, model.name
