"""Usage and budgets as the contract's."""

from __future__ import annotations

from typing import Any

from contracts.ai import money
from functions.ai.domain.budget_service import BudgetView
from functions.ai.domain.budgets import Counter, Period
from functions.ai.domain.pricing import from_pico, usd
from functions.ai.domain.usage import TALLY_FIELDS, Aggregate, Group, Tally, UsageFilter
from functions.ai.domain.usage_service import UsageReport


def usage_report(wanted: UsageFilter, report: UsageReport) -> money.UsageReport:
    """A page of groups with the sum of all."""
    return money.UsageReport(
        first_day=wanted.first,
        last_day=wanted.last,
        groups=[_group(group) for group in report.groups],
        total=money.UsageSum(**_sum(report.total)),
        has_more=report.next_cursor is not None,
        next_cursor=report.next_cursor,
    )


def budget(view: BudgetView) -> money.Budget:
    """A budget and its current periods."""
    known = view.budget
    return money.Budget(
        scope=known.scope.name,
        daily_limit=_dollars(known.daily_limit),
        monthly_limit=_dollars(known.monthly_limit),
        periods=[_period(period, counter, known.limit(period)) for period, counter in view.periods],
        created_at=known.created_at,
        updated_at=known.updated_at,
    )


def aggregate(known: Aggregate) -> money.UsageGroup:
    """A user's calls of a model in a project on a day."""
    return _group(
        Group(
            known.tally,
            day=known.day,
            project_id=known.project_id,
            user_id=known.user_id,
            provider=known.provider,
            model=known.model,
        )
    )


def _group(group: Group) -> money.UsageGroup:
    return money.UsageGroup(
        **_sum(group.tally),
        day=group.day,
        project_id=group.project_id,
        user_id=group.user_id,
        provider=group.provider,
        model=group.model,
    )


def _sum(tally: Tally) -> dict[str, Any]:
    fields = {name: getattr(tally, name) for name in TALLY_FIELDS}
    return fields | {"cost": usd(from_pico(tally.cost)), "total_tokens": tally.tokens}


def _period(period: Period, counter: Counter, limit: int | None) -> money.BudgetPeriod:
    left = None if limit is None else max(0, limit - counter.committed)
    return money.BudgetPeriod(
        period=period.kind,
        name=period.name,
        limit=_dollars(limit),
        spent=usd(from_pico(counter.spent)),
        reserved=usd(from_pico(counter.committed - counter.spent)),
        left=_dollars(left),
        renews_at=period.end,
    )


def _dollars(amount: int | None) -> str | None:
    return None if amount is None else usd(from_pico(amount))
