"""Budgets: whose they are, which periods they count, and what is promised of them.

Amounts are whole pico-dollars, of which every price per token is a multiple: DynamoDB adds and
compares them exactly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

PeriodKind = Literal["day", "month"]

_SCOPE = re.compile(r"(?:project-([1-9]\d{0,9}))?-?(?:user-([1-9]\d{0,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scope:
    """A project, a user, or a user within a project; at least one is given."""

    project_id: int | None
    user_id: int | None

    @property
    def name(self) -> str:
        """As it stands in a path: `project-7`, `user-3`, `project-7-user-3`."""
        parts = (("project", self.project_id), ("user", self.user_id))
        return "-".join(f"{kind}-{number}" for kind, number in parts if number is not None)

    @classmethod
    def parse(cls, name: str) -> Scope | None:
        """The scope of that name, None if it is none."""
        found = _SCOPE.fullmatch(name)
        if found is None or not any(found.groups()):
            return None
        project, user = (int(number) if number else None for number in found.groups())
        scope = cls(project, user)
        return scope if scope.name == name else None


@dataclass(frozen=True, slots=True)
class Period:
    """A day or a month, UTC."""

    kind: PeriodKind
    first: date

    @property
    def name(self) -> str:
        """`2026-11-27` or `2026-11`."""
        return self.first.isoformat() if self.kind == "day" else f"{self.first:%Y-%m}"

    @property
    def next(self) -> date:
        """The first day after it."""
        if self.kind == "day":
            return self.first + timedelta(days=1)
        return (self.first.replace(day=28) + timedelta(days=4)).replace(day=1)

    @property
    def end(self) -> datetime:
        """When the next one begins."""
        return datetime.combine(self.next, time(), UTC)

    @property
    def last(self) -> date:
        """Its last day."""
        return self.next - timedelta(days=1)


def periods_at(moment: datetime) -> tuple[Period, Period]:
    """The day and the month of a moment."""
    day = moment.astimezone(UTC).date()
    return Period("day", day), Period("month", day.replace(day=1))


def scopes_of(project_id: int, user_id: int) -> tuple[Scope, Scope, Scope]:
    """The scopes whose budgets a call of the user in the project must fit into."""
    return Scope(project_id, None), Scope(None, user_id), Scope(project_id, user_id)


@dataclass(frozen=True, slots=True)
class Budget:
    """What a scope may spend; a limit that is None does not bind."""

    scope: Scope
    daily_limit: int | None
    monthly_limit: int | None
    created_at: datetime
    updated_at: datetime

    def limit(self, period: Period) -> int | None:
        """The limit of a period of that kind."""
        return self.daily_limit if period.kind == "day" else self.monthly_limit


@dataclass(frozen=True, slots=True)
class Counter:
    """What is gone of a scope's period: `committed` is what was spent and what is reserved.

    `spent` is the part of it that came of usage; `seeded_at` is when it was last compared with the
    usage that was recorded, None if it never was.
    """

    committed: int
    spent: int
    seeded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Hold:
    """What a turn's attempt has reserved of a scope's day and month."""

    scope: Scope
    turn_id: str
    attempt: int
    amount: int
    at: datetime
    expires_at: int

    @property
    def periods(self) -> tuple[Period, Period]:
        """What it counts in: the periods of its reservation, even if it is settled in the next."""
        return periods_at(self.at)


@dataclass(frozen=True, slots=True)
class Spender:
    """An attempt to answer a turn: who pays for it, and by which name it is known."""

    turn_id: str
    attempt: int
    project_id: int
    user_id: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an attempt has reserved: nothing where no budget applies."""

    spender: Spender
    at: datetime
    holds: tuple[Hold, ...] = ()


@dataclass(frozen=True, slots=True)
class Move:
    """What changes in a counter: by how much, and how much of that was spent."""

    scope: Scope
    period: Period
    committed: int
    spent: int


@dataclass(frozen=True, slots=True)
class BudgetSettlement:
    """What the end of an attempt changes: holds that go, each if it is there, and counters."""

    holds: tuple[Hold, ...]
    moves: tuple[Move, ...]


def settled(hold: Hold, spent: int) -> list[Move]:
    """The moves of a hold that ends with that much spent."""
    return [Move(hold.scope, period, spent - hold.amount, spent) for period in hold.periods]


def released(holds: Sequence[Hold]) -> BudgetSettlement:
    """Nothing was spent."""
    return BudgetSettlement(tuple(holds), tuple(m for hold in holds for m in settled(hold, 0)))
