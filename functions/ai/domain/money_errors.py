"""The errors of usage and budgets."""

from __future__ import annotations

from functions.ai.domain.budgets import Budget, Counter, Period
from functions.ai.domain.pricing import from_pico, usd
from servicekit.clock import to_text
from servicekit.errors import AppError


class BudgetNotFoundError(AppError):
    """The scope has no budget."""

    code = "budget_not_found"
    status = 404
    title = "The budget does not exist"


class BudgetExhaustedError(AppError):
    """The call might cost more than what is left; the problem's `budget` says of which budget.

    It carries no Retry-After: a client that obeys would sleep for weeks.
    """

    code = "budget_exhausted"
    status = 402
    title = "The budget is exhausted"

    @classmethod
    def of(
        cls, budget: Budget, period: Period, counter: Counter, estimate: int
    ) -> BudgetExhaustedError:
        """What is said of the budget's period that stands in the way of an `estimate`."""
        limit = budget.limit(period)
        left = max(0, limit - counter.committed) if limit is not None else 0
        told = {
            "scope": budget.scope.name,
            "period": period.kind,
            "limit": usd(from_pico(limit or 0)),
            "left": usd(from_pico(left)),
            "needed": usd(from_pico(estimate)),
            "renews_at": to_text(period.end),
        }
        return cls(
            f"Of the {told['limit']} USD that {told['scope']} may spend in a {period.kind}"
            f" {told['left']} are left, and the call may cost {told['needed']}."
            f" The budget renews at {told['renews_at']}.",
            extensions={"budget": told},
        )


class PriceUnknownError(AppError):
    """A budget applies, and nobody knows what the model costs."""

    code = "price_unknown"
    status = 422
    title = "A model without a price cannot be used under a budget"


class UsageTooLargeError(AppError):
    """More was used in the range than one answer can sum up."""

    code = "usage_too_large"
    status = 413
    title = "The range holds too much usage for one answer"
