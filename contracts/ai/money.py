"""AI v1: what was used, what it cost, and what may be spent."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from contracts.ai.v1 import Usd
from contracts.base import UtcDatetime, WireInt, WireModel
from contracts.problem import Problem

MAX_USAGE_DAYS = 366
"""Days of one report of usage."""

GROUP_BY_PATTERN = "^(day|project|user|model)(,(day|project|user|model)){0,3}$"
"""What a report may be grouped by, comma separated."""

SCOPE_PATTERN = "^(project-[1-9][0-9]{0,9}|(project-[1-9][0-9]{0,9}-)?user-[1-9][0-9]{0,9})$"
"""Whose a budget is: `project-7`, `user-3`, or the user within the project, `project-7-user-3`."""

MAX_SCOPE_LENGTH = 64
"""Characters of a scope."""

Limit = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$",
        description="Decimal US dollars, to a millionth.",
        examples=["25.00"],
    ),
]


class UsageSum(WireModel):
    """The sum of calls to models. The buckets of tokens share none."""

    calls: Annotated[WireInt, Field(description="Attempts that were billed.")]
    input_tokens: Annotated[WireInt, Field(description="Prompts, without what a cache served.")]
    output_tokens: Annotated[WireInt, Field(description="Answers, without reasoning.")]
    cache_read_tokens: WireInt
    cache_write_tokens: Annotated[WireInt, Field(description="Kept for minutes.")]
    cache_write_1h_tokens: Annotated[WireInt, Field(description="Kept for an hour.")]
    reasoning_tokens: WireInt
    total_tokens: WireInt
    cost: Annotated[Usd, Field(description="Of the calls that have a price.")]
    unpriced_calls: Annotated[WireInt, Field(description="Calls to models without a price.")]
    estimated_calls: Annotated[
        WireInt, Field(description="Calls whose usage the provider did not tell.")
    ]


class UsageGroup(UsageSum):
    """The sum of a group; what the report is not grouped by is null."""

    day: Annotated[date | None, Field(description="On which the calls began, UTC.")] = None
    project_id: WireInt | None = None
    user_id: WireInt | None = None
    provider: str | None = None
    model: str | None = None


class UsageReport(WireModel):
    """One page of groups, in order of day, project, user, provider and model."""

    first_day: date
    last_day: date
    groups: list[UsageGroup]
    total: Annotated[UsageSum, Field(description="Of all pages.")]
    has_more: bool
    next_cursor: Annotated[str | None, Field(description="`cursor` of the next page.")] = None


class BudgetSet(WireModel):
    """The limits of a budget; at least one. A limit that is null or absent does not bind."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    daily_limit: Limit | None = None
    monthly_limit: Limit | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.daily_limit is None and self.monthly_limit is None:
            raise PydanticCustomError(
                "nothing_to_limit", "At least one of daily_limit, monthly_limit is required"
            )
        return self


class BudgetPeriod(WireModel):
    """What is gone of a budget in its current day or month (UTC)."""

    period: Annotated[str, Field(description="day or month.", examples=["day"])]
    name: Annotated[str, Field(examples=["2026-01-05", "2026-01"])]
    limit: Annotated[Usd | None, Field(description="Null where only the other one binds.")] = None
    spent: Usd
    reserved: Annotated[Usd, Field(description="What calls that still run may cost at most.")]
    left: Annotated[Usd | None, Field(description="Null where nothing binds.")] = None
    renews_at: UtcDatetime


class Budget(WireModel):
    """What a project, a user, or a user within a project may spend."""

    scope: Annotated[str, Field(examples=["project-7-user-3"])]
    daily_limit: Usd | None = None
    monthly_limit: Usd | None = None
    periods: list[BudgetPeriod]
    created_at: UtcDatetime
    updated_at: UtcDatetime


class BudgetDeleted(WireModel):
    """The scope has no budget any more."""

    message: str


class BudgetRefusal(WireModel):
    """The budget that has no room for a call."""

    scope: str
    period: Annotated[Literal["day", "month"], Field(description="Which of its limits.")]
    limit: Usd
    left: Usd
    needed: Annotated[Usd, Field(description="What the call may cost at most.")]
    renews_at: UtcDatetime


class BudgetProblem(Problem):
    """402 `budget_exhausted`: no Retry-After, `budget.renews_at` says when there is room again."""

    budget: BudgetRefusal
