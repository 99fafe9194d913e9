"""Which models answer: what a new session gets, and what comes after a model that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from functions.ai.domain.catalogue import Catalogue, Model
from functions.ai.domain.inference import Image, ImageRef, Prompt, ToolCall, ToolResult
from servicekit.errors import AppError

Random = Callable[[], float]
"""Numbers from 0 up to 1, as `random.random` makes them."""


@dataclass(frozen=True, slots=True)
class Target:
    """A model of a provider; of targets that are equals, `weight` is its share."""

    provider: str
    model: str
    weight: int = 1

    @classmethod
    def of(cls, model: Model) -> Target:
        """The model without a weight of its own."""
        return cls(model.provider.name, model.name)

    @property
    def name(self) -> tuple[str, str]:
        """What tells it from others."""
        return self.provider, self.model


@dataclass(frozen=True, slots=True)
class Summarising:
    """That a session's oldest messages are summarised: by `model`, or by the session's own."""

    model: Target | None = None

    @classmethod
    def from_data(cls, data: Mapping[str, Any] | None) -> Summarising | None:
        """The inverse of `data`; None of None."""
        if data is None:
            return None
        model = data.get("model")
        return cls(Target(model["provider"], model["model"]) if model else None)

    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"model": _unweighed(self.model) if self.model else None}


@dataclass(frozen=True, slots=True)
class Policy:
    """`default` are equals, of which a new session gets one by weight; where there are none, it
    gets the deployment's default model. `fallbacks` come after a model that fails, in their order.
    Without `summaries` none are made, and none that were made are used.
    """

    default: tuple[Target, ...] = ()
    fallbacks: tuple[Target, ...] = ()
    summaries: Summarising | None = None

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Policy:
        """The inverse of `data`."""
        return cls(
            tuple(Target(**target) for target in data["default"]),
            tuple(Target(**target) for target in data["fallbacks"]),
            # Policies of earlier days do not say.
            Summarising.from_data(data.get("summaries")),
        )

    def data(self) -> dict[str, Any]:
        """As JSON has it; weights of fallbacks mean nothing, and are not told."""
        return {
            "default": [asdict(target) for target in self.default],
            "fallbacks": [_unweighed(target) for target in self.fallbacks],
            "summaries": self.summaries.data() if self.summaries else None,
        }

    def after(self, asked: Target, random: Random) -> list[Target]:
        """What comes when `asked` fails, each once: where it is one of the equals the others,
        drawn by weight; then the fallbacks in their order.
        """
        equals = [target for target in self.default if target.name != asked.name]
        if len(equals) == len(self.default):
            equals = []
        others = (*drawn(equals, random), *self.fallbacks)
        unique = {target.name: target for target in others if target.name != asked.name}
        return list(unique.values())


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """The policy of a project."""

    project_id: int
    policy: Policy
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model must be able to do for a prompt."""

    tools: bool = False
    images: bool = False

    @classmethod
    def of(cls, prompt: Prompt) -> Needs:
        """What the prompt holds, earlier calls of tools and pictures included."""
        parts = [part for utterance in prompt.utterances for part in utterance.parts]
        return cls(
            tools=bool(prompt.tools) or any(isinstance(p, ToolCall | ToolResult) for p in parts),
            images=any(isinstance(part, Image | ImageRef) for part in parts),
        )

    def met_by(self, model: Model) -> bool:
        """Whether the catalogue says that the model can do it."""
        return (model.supports_functions or not self.tools) and (
            model.supports_vision or not self.images
        )


NO_NEEDS = Needs()


class UnknownTargetsError(Exception):
    """A policy names models that cannot be called; `problems` are fields and what is wrong."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in problems))
        self.problems = tuple(problems)


def check(policy: Policy, catalogue: Catalogue) -> None:
    """Raises `UnknownTargetsError` for targets that the catalogue lacks, has retired, or that a
    list has twice. A provider may be inactive: its targets are passed over until it is not.
    """
    problems = [
        problem
        for field, targets in (("default", policy.default), ("fallbacks", policy.fallbacks))
        for problem in _problems(field, targets, catalogue)
    ]
    if policy.summaries and policy.summaries.model:
        problems += _unknown("summaries.model", policy.summaries.model, catalogue)
    if problems:
        raise UnknownTargetsError(problems)


def drawn(targets: Iterable[Target], random: Random) -> list[Target]:
    """All of the targets in random order: a target comes before the others of the rest as often as
    its weight is of theirs.
    """
    # Efraimidis and Spirakis: the greatest of u ** (1 / weight) is drawn by weight, and so on.
    return sorted(targets, key=lambda target: random() ** (1 / target.weight), reverse=True)


def _problems(
    field: str, targets: Sequence[Target], catalogue: Catalogue
) -> Iterable[tuple[str, str]]:
    seen = set()
    for place, target in enumerate(targets):
        if target.name in seen:
            yield f"{field}.{place}", "The list has this target already."
        seen.add(target.name)
        yield from _unknown(f"{field}.{place}", target, catalogue)


def _unknown(field: str, target: Target, catalogue: Catalogue) -> Iterable[tuple[str, str]]:
    try:
        catalogue.find(target.provider, target.model)
    except AppError as error:
        yield field, f"{error.title}. {error.detail}"


def _unweighed(target: Target) -> dict[str, str]:
    return {"provider": target.provider, "model": target.model}
