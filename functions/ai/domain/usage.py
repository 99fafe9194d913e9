"""What was used and what it cost: a charge for each attempt that was billed, and their sums."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal

from functions.ai.domain.catalogue import Catalogue, Model
from functions.ai.domain.inference import Usage
from functions.ai.domain.pricing import from_pico, to_pico

GroupBy = Literal["day", "project", "user", "model"]

MAX_DAYS = 366
"""Of a range of usage."""


@dataclass(frozen=True, slots=True)
class Charge:
    """A call of an attempt to answer a turn, which its provider bills; its day is that of the call.
    An attempt that failed over has made several.

    `delivered` counts the tokens of the answer that reached the session, where that is less than
    what is billed: the rest was drained, or lost. `estimated` marks a usage that the provider did
    not tell. `cost` is pico-dollars, None where the price is not known.
    """

    turn_id: str
    attempt: int
    session_id: str
    project_id: int
    user_id: int
    provider: str
    model: str
    usage: Usage
    cost: int | None
    price_list: str
    at: datetime
    delivered: int | None = None
    estimated: bool = False
    call: int = 1

    @property
    def day(self) -> date:
        """The day that it is counted in, UTC."""
        return self.at.astimezone(UTC).date()

    @property
    def dollars(self) -> Decimal | None:
        """Its cost in US dollars."""
        return None if self.cost is None else from_pico(self.cost)

    @property
    def tally(self) -> Tally:
        """It alone, as a sum."""
        return Tally(
            calls=1,
            cost=self.cost or 0,
            unpriced_calls=int(self.cost is None),
            estimated_calls=int(self.estimated),
            **{f"{name}_tokens": count for name, count in asdict(self.usage).items()},
        )


def cost_of(model: Model, usage: Usage, at: datetime) -> int | None:
    """Pico-dollars of a call at that time; None where the price is not known."""
    cost = model.cost(usage, at)
    return None if cost is None else to_pico(cost)


def charge(
    catalogue: Catalogue,
    model: Model,
    usage: Usage,
    *,
    turn_id: str,
    attempt: int,
    session_id: str,
    project_id: int,
    user_id: int,
    at: datetime,
    delivered: int | None = None,
    estimated: bool = False,
    call: int = 1,
) -> Charge:
    """The charge of a call to `model` that began at that time, at its prices of that day."""
    return Charge(
        turn_id=turn_id,
        attempt=attempt,
        session_id=session_id,
        project_id=project_id,
        user_id=user_id,
        provider=model.provider.name,
        model=model.name,
        usage=usage,
        cost=cost_of(model, usage, at),
        price_list=catalogue.price_list,
        at=at,
        delivered=delivered,
        estimated=estimated,
        call=call,
    )


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums: the buckets share no token, and `cost` (pico-dollars) is of the calls with a price."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    cost: int = 0
    unpriced_calls: int = 0
    estimated_calls: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, name) + getattr(other, name) for name in TALLY_FIELDS))

    @property
    def tokens(self) -> int:
        """All tokens."""
        return sum(getattr(self, name) for name in TALLY_FIELDS if name.endswith("_tokens"))


TALLY_FIELDS = tuple(field.name for field in fields(Tally))


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The sum of a user's calls of a model in a project on a day."""

    day: date
    project_id: int
    user_id: int
    provider: str
    model: str
    tally: Tally


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Whose usage, and of which days, both included; a project or a user is given."""

    project_id: int | None
    user_id: int | None
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Group:
    """A sum, and of what; what it is not grouped by is None."""

    tally: Tally
    day: date | None = None
    project_id: int | None = None
    user_id: int | None = None
    provider: str | None = None
    model: str | None = None

    @property
    def position(self) -> tuple[str, int, int, str, str]:
        """Its place among groups of the same kind."""
        return (
            self.day.isoformat() if self.day else "",
            self.project_id or 0,
            self.user_id or 0,
            self.provider or "",
            self.model or "",
        )


def grouped(aggregates: Iterable[Aggregate], by: Sequence[GroupBy]) -> list[Group]:
    """The sums of each group, in order."""
    groups: dict[Group, Tally] = {}
    nothing = Tally()
    for aggregate in aggregates:
        of_model = "model" in by
        key = Group(
            nothing,
            day=aggregate.day if "day" in by else None,
            project_id=aggregate.project_id if "project" in by else None,
            user_id=aggregate.user_id if "user" in by else None,
            provider=aggregate.provider if of_model else None,
            model=aggregate.model if of_model else None,
        )
        groups[key] = groups.get(key, nothing) + aggregate.tally
    found = [replace(key, tally=tally) for key, tally in groups.items()]
    return sorted(found, key=lambda group: group.position)


def total(aggregates: Iterable[Aggregate]) -> Tally:
    """The sum of all."""
    return sum((aggregate.tally for aggregate in aggregates), Tally())
